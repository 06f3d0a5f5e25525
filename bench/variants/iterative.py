"""Pruning and fine-tuning in turn, a little more each cycle, up to what the mAP allows.

Small steps with training between them reach more than one large step (Han et al., Learning both
Weights and Connections for Efficient Neural Networks, 2015, section 3.4).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploymark.backends.inputs import Size
from deploymark.bench.matrix.steps import IterativeStep, StructuredStep
from deploymark.bench.variants import structured, training
from deploymark.bench.variants.apply import Record, StepContext
from deploymark.bench.variants.channels import split_widths
from deploymark.bench.variants.checkpoint import describe, exportable
from deploymark.bench.variants.evaluate import selection_evaluator
from deploymark.bench.variants.prune import l1_unstructured

if TYPE_CHECKING:
    from torch import nn


def run(module: nn.Module, step: IterativeStep, context: StepContext) -> tuple[nn.Module, Record]:
    """Carry out an ``iterative`` step (see ``bench.variants.apply.run_step``).

    ``amounts`` tells the amount of each cycle, of the weights or channels that the module comes
    with. Each cycle trains with a seed of its own, so that no two see the same augmented images.
    With ``max_drop``, the drop of mAP50-95 against the module as it came is measured after each
    cycle, on the selection images; the first cycle that lost more ends the step, and the module is
    that of the cycle before it, or as it came.

    Raises UnsupportedError, UnavailableError and ExportError as pruning and training do.
    """
    imgsz = step.imgsz or context.imgsz
    context.say("mAP50-95 before pruning")
    dense = selection_evaluator(context, imgsz).map50_95(module)
    cycles: list[dict[str, Any]] = []
    history: list[dict[str, Any]] = []
    kept, kept_map50_95 = module, dense
    start = split_widths(module) if step.prune == "structured" else {}
    for number, amount in enumerate(amounts(step), 1):
        inside = _inside(context, number, step.cycles)
        inside.say(f"pruning to {amount:.1%}")
        changed = _pruned(copy.deepcopy(kept), step, amount, start, inside)
        changed, trained = training.train(changed, _settings(step, number, context.seed), inside)
        after = trained["map50_95_after"]
        within = step.max_drop is None or dense - after <= step.max_drop
        cycles.append(_cycle(number, amount, trained, changed, imgsz, context) | {"kept": within})
        history += [{"cycle": number, **epoch} for epoch in trained["history"]]
        inside.say(f"mAP50-95 {after:.3f}, {dense:.3f} before pruning")
        if not within:
            break
        kept, kept_map50_95 = changed, after
    return kept, {
        "cycles": cycles,
        "dense_map50_95": dense,
        "map50_95_after": kept_map50_95,
        "history": history,
        "notes": _notes(step, cycles, dense),
    }


def amounts(step: IterativeStep) -> tuple[float, ...]:
    """The share of the weights or channels that is pruned after each cycle; the last is the step's.

    ``cubic`` is Zhu & Gupta, To Prune, or Not to Prune (2017), equation 1, from a sparsity of 0.
    """
    done = [number / step.cycles for number in range(1, step.cycles + 1)]
    if step.schedule == "cubic":
        done = [1 - (1 - share) ** 3 for share in done]
    return tuple(step.amount * share for share in done)


def _pruned(
    module: nn.Module,
    step: IterativeStep,
    amount: float,
    start: Mapping[str, int],
    context: StepContext,
) -> nn.Module:
    """``module``, pruned in cycles before, pruned to ``amount`` of what it started with.

    Weights that are zero are the smallest, so the amount of l1 counts them; of channels that are
    gone ``start`` tells the numbers.
    """
    if step.prune == "l1":
        l1_unstructured(module, amount, scope=step.scope)
        return module
    part = StructuredStep(kind="structured", ratio=amount, scope=step.scope)
    module, _ = structured.run(module, part, context, start)
    return module


def _settings(step: IterativeStep, number: int, seed: int) -> IterativeStep:
    first = seed if step.seed is None else step.seed
    return step.model_copy(update={"seed": first + number - 1})


def _inside(context: StepContext, number: int, cycles: int) -> StepContext:
    """The context of one cycle, whose number stands before all that is said."""
    return dataclasses.replace(
        context, say=lambda what: context.say(f"cycle {number} of {cycles}: {what}")
    )


def _cycle(
    number: int, amount: float, trained: Record, module: nn.Module, imgsz: int, context: StepContext
) -> dict[str, Any]:
    size = Size.of(imgsz)
    known = describe(exportable(copy.deepcopy(module), size, head=context.head), size)
    return {
        "cycle": number,
        "amount": amount,
        "map50_95_pruned": trained["map50_95_before"],
        "map50_95": trained["map50_95_after"],
        "macs": known.macs,
        "nonzero_fraction": known.nonzero_fraction,
    }


def _notes(step: IterativeStep, cycles: list[dict[str, Any]], dense: float) -> list[str]:
    last = cycles[-1]
    if last["kept"]:
        return []
    lost = f"lost {dense - last['map50_95']:.4f} mAP50-95, more than the {step.max_drop:g} allowed"
    if len(cycles) == 1:
        return [f"nothing was pruned: the first cycle, to {last['amount']:.1%}, {lost}"]
    kept = f"stopped at {cycles[-2]['amount']:.1%}"
    return [f"{kept}: cycle {last['cycle']} of {step.cycles}, to {last['amount']:.1%}, {lost}"]
