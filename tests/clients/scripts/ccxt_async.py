import asyncio

import ccxt.async_support as ccxt
from ccxt_questions import pointed, questions
from document import Document

document = Document()


async def main() -> None:
    exchange = pointed(ccxt.binance(), document.base)
    try:
        for section, name, method, arguments in questions(document.ranges):
            await document.ask_async(section, name, lambda: getattr(exchange, method)(*arguments))
    finally:
        await exchange.close()
    document.print()


asyncio.run(main())
