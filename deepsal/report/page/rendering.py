"""Templates of the HTML reports, filled with data."""

import time
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render_template(template: str, data: Mapping[str, Any]) -> str:
    """Fill a template of this package; every value is escaped.

    Args:
        template: file name in `deepsal/report/page/templates`.
        data: the template's variables; one that is missing is an error.
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
        loader.get_source(environment, name)[0]  # our own files, no one's data
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters["number"] = format_number
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return environment.get_template(template).render(made=made, **data)


def format_number(value: float | None) -> str:
    """Format a number for a table: two decimal places, more where these would show nothing.

    >>> [format_number(value) for value in (0.123, -0.004, 0.0004, None, 0.0)]
    ['0.12', '−0.004', '4e−04', '–', '0.00']
    """
    if value is None or value != value:
        return "–"
    size = abs(value)
    digits = ".2f" if size == 0 or size >= 0.095 else ".3f" if size >= 0.0005 else ".0e"
    return f"{value:{digits}}".replace("-", "−")
