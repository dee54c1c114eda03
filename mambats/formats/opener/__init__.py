"""Any recording that is known, recognised by its content or the layout of its folder."""

from mambats.formats.opener.known import FORMATS, open_any, recognise
from mambats.formats.opener.look import Format, Look

__all__ = ["FORMATS", "Format", "Look", "open_any", "recognise"]
