import ccxt
from ccxt_questions import pointed, questions
from document import Document

document = Document()
exchange = pointed(ccxt.binance(), document.base)
for section, name, method, arguments in questions(document.ranges):
    document.ask(section, name, lambda: getattr(exchange, method)(*arguments))
document.print()
