"""What all pages share: figures and their words, styles of charts, Markdown, HTML."""
