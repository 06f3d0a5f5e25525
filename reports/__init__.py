"""Reports of a run: one offline HTML file and a Markdown summary, made from its results alone."""
