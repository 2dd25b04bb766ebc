"""Boosters made of others: their raw scores averaged, then stretched and moved, as one LightGBM model again.

What comes out is LightGBM's text and nothing else, so whatever reads, serves, compiles or explains a Booster does so
with this one: its contributions add up to the log-odds of the score that is given.
"""

from __future__ import annotations

from collections.abc import Sequence

_HEAD, _END = "\nTree=", "\nend of trees"

#: Lines of a tree whose numbers are raw scores, and those that are raw scores too but never of a leaf.
_VALUES, _SLOPES = ("leaf_value=", "internal_value=", "leaf_const="), ("leaf_coeff=",)


def combined(texts: Sequence[str], slope: float = 1.0, intercept: float = 0.0) -> str:
    """One model with the raw score `intercept + slope * mean of the raw scores` of several.

    Args:
        texts: Models of one output a row, as `Booster.model_to_string` writes them, of the same features.
        slope: Above 0, so that rows stay in the order of the mean.
        intercept: Log-odds added to each row.

    Returns:
        The text of the model; `Booster(model_str=...)` reads it.
    """
    head = texts[0].partition(_HEAD)[0]
    # A random forest's raw score is the mean of its trees, so each of them is moved, and none is scaled down.
    averaged = "\naverage_output\n" in f"{head}\n"
    factor = slope if averaged else slope / len(texts)
    trees = [tree for text in texts for tree in _trees(text)]
    blocks = [
        _block(number, tree, factor, intercept if averaged or number == 0 else 0.0) for number, tree in enumerate(trees)
    ]
    sizes = " ".join(str(len(block.encode())) for block in blocks)
    lines = [f"tree_sizes={sizes}" if line.startswith("tree_sizes=") else line for line in head.splitlines()]
    rest = texts[0].partition(_END)[2]
    return "\n".join(lines) + "\n\n" + "".join(blocks) + _END.lstrip("\n") + rest


def _trees(text: str) -> list[str]:
    """The trees, each without its first line."""
    body = text.partition(_END)[0]
    return [part.partition("\n")[2] for part in body.split(_HEAD)[1:]]


def _block(number: int, tree: str, factor: float, moved: float) -> str:
    lines = [_line(line, factor, moved) for line in tree.strip("\n").splitlines()]
    return "\n".join([f"Tree={number}", *lines, "", "", ""])


def _line(line: str, factor: float, moved: float) -> str:
    name, equals, values = line.partition("=")
    if name + equals in _VALUES:
        return f"{name}={' '.join(repr(factor * float(value) + moved) for value in values.split())}"
    if name + equals in _SLOPES:  # leaves without a slope of their own are a blank each
        return f"{name}={' '.join(repr(factor * float(value)) if value else '' for value in values.split(' '))}"
    return line
