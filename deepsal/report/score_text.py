"""Scores as text: the arrow of the better direction, and a mean ± half its interval."""

from collections.abc import Mapping

from deepsal.vocabulary import SCORES, TARGET_SCORES


def direction_arrow(score: str) -> str:
    """Return ↓ for a score of which less is better; otherwise ↑.

    >>> direction_arrow("kl"), direction_arrow("nss")
    ('↓', '↑')
    """
    return "↓" if {**SCORES, **TARGET_SCORES}[score].direction == "min" else "↑"


def format_score(score: Mapping[str, float], compact: bool = False) -> str:
    """Format a mean ± half its interval; the mean alone where the interval is NaN.

    Args:
        score: `mean`, `low` and `high`.
        compact: no spaces, no leading zero and fewer digits, for tables of 80 columns.

    >>> score = {"mean": 0.5071, "low": 0.45, "high": 0.55}
    >>> format_score(score), format_score(score, compact=True)
    ('0.507 ± 0.050', '.507±.05')
    """
    mean, half = score["mean"], (score["high"] - score["low"]) / 2
    has_interval = half == half
    if not compact:
        return f"{mean:.3f}" + (f" ± {half:.3f}" if has_interval else "")
    digits = 3 if abs(mean) < 0.9995 else 2
    text = f"{mean:.{digits}f}" + (f"±{half:.2f}".replace("±0.", "±.") if has_interval else "")
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
