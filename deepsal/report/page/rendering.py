"""Templates of the HTML reports, filled with data."""

import time
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deepsal.report.score_text import direction_arrow


def render_template(template: str, data: Mapping[str, Any]) -> str:
    """Fill a template with data and return the HTML; every value is escaped.

    Args:
        template: file name in `deepsal/report/page/templates`.
        data: the template's variables.

    Raises:
        jinja2.UndefinedError: a variable is missing.
    """
    loader = PackageLoader("deepsal.report.page", "templates")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["inlined"] = lambda name: Markup(
        loader.get_source(environment, name)[0]  # a file of this package, not data
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters |= {"number": format_number, "arrow": direction_arrow}
    written = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return environment.get_template(template).render(written=written, **data)


def format_number(value: float | None) -> str:
    """Format a number for a table: two decimal places, more for a small one.

    >>> [format_number(value) for value in (0.123, -0.004, 0.0004, None, 0.0)]
    ['0.12', '−0.004', '4e−04', '–', '0.00']
    """
    if value is None or value != value:
        return "–"
    size = abs(value)
    digits = ".2f" if size == 0 or size >= 0.095 else ".3f" if size >= 0.0005 else ".0e"
    return f"{value:{digits}}".replace("-", "−")
