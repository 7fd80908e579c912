"""What decoding foreign JSON may raise, whatever its bytes are. Pure."""

import msgspec

# msgspec's own; text that is no UTF-8; nesting deeper than the interpreter's stack
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
