"""The exceptions that decoding untrusted JSON may raise. Pure."""

import msgspec

# msgspec's own; text that is no UTF-8; nesting deeper than the interpreter's stack
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
