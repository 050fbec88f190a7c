"""Showing tables, figures and sentences: rich in a notebook, printed elsewhere. No widgets, no scripts, few bytes."""

from __future__ import annotations

import html
import io
import itertools
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MAX_ROWS = 40  # shown; the CSV file has all
DPI = 90
COLOURS = 64  # a palette of 64 colours keeps a figure near 10 KB, so that 8 of them fit a rendered notebook


def in_kernel() -> bool:
    """Whether this code runs in a Jupyter kernel (then IPython is loaded already)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def show(bundle: dict[str, Any], plain: str) -> None:
    """Display a bundle of MIME types with its plain text beside it; outside a kernel print the text."""
    if in_kernel():
        from IPython.display import display

        display({**bundle, "text/plain": plain}, raw=True)
    else:
        print(plain)


def show_markdown(text: str) -> None:
    show({"text/markdown": text}, text)


def show_table(frame: pd.DataFrame, caption: str = "") -> None:
    """A plain HTML table under its caption, at most `MAX_ROWS` rows, floats with 4 significant digits."""
    if frame.empty:
        return show({"text/html": f"<p><em>{html.escape(caption)}</em> No rows.</p>"}, f"{caption}\nNo rows.".strip())
    shown, rest = frame.head(MAX_ROWS), len(frame) - MAX_ROWS
    more = f"… {rest} more rows in the CSV file" if rest > 0 else ""
    style = {"index": False, "float_format": short, "na_rep": ""}
    body = _left_aligned_text(shown.to_html(border=0, justify="left", **style), shown)
    parts = [f"<p><em>{html.escape(caption)}</em></p>" if caption else "", body, f"<p>{more}</p>" if more else ""]
    text = "\n".join(part for part in (caption, shown.to_string(**style), more) if part)
    show({"text/html": "".join(parts)}, text)


def _left_aligned_text(body: str, frame: pd.DataFrame) -> str:
    """The table's HTML with its columns of text aligned left, as one reads; Jupyter aligns every cell right."""
    from pandas.api.types import is_numeric_dtype

    numeric = [is_numeric_dtype(dtype) for dtype in frame.dtypes]
    cells = itertools.cycle("<td>" if is_number else '<td style="text-align: left">' for is_number in numeric)
    return re.sub("<td>", lambda _: next(cells), body)


def short(number: float) -> str:
    """4 significant digits; whole numbers with separators from 1,000 on."""
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e15 else f"{number:.4g}"


def show_png(png: bytes, caption: str) -> None:
    if in_kernel():
        import base64

        data = base64.b64encode(png).decode()
        show({"image/png": data}, f"figure: {caption}")
        show_markdown(f"*{caption}*")
    else:
        print(f"figure: {caption}")


def png_bytes(figure: Figure) -> bytes:
    """The figure as a small PNG: `DPI` dots an inch, `COLOURS` colours, no metadata; equal figures give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    if "matplotlib.pyplot" in sys.modules:  # a pyplot figure would be shown a second time at the end of the cell
        sys.modules["matplotlib.pyplot"].close(figure)
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    canvas.draw()
    picture = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1).convert(
        "RGB"
    )
    stream = io.BytesIO()
    picture = picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()
