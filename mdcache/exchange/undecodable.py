"""The exceptions that decoding untrusted JSON may raise, and reading one text field of it by itself. Pure."""

import msgspec

# msgspec's own; text that is no UTF-8; nesting deeper than the interpreter's stack
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_text_decoder = msgspec.json.Decoder(str)


def read_text(raw: msgspec.Raw) -> str:
    """Return the text, empty if it is anything else."""
    try:
        return _text_decoder.decode(raw)
    except UNDECODABLE:
        return ""
