import { Spot } from '@binance/connector';
import { document, pages, without } from './document.mjs';

const client = new Spot('', '', { baseURL: document.base });
const data = async (call) => (await call).data;

for (const [name, wanted] of Object.entries(document.ranges)) {
  const { symbol, interval, market } = wanted;
  if (market !== 'spot') continue;
  await document.ask('settled', name, () => pages(wanted, (span) => data(client.klines(symbol, interval, span))));
  await document.ask('settled', `${name}, for drawing`, () =>
    pages(wanted, (span) => data(client.uiklines(symbol, interval, span))),
  );
}
const info = (asked) => async () => without(await data(client.exchangeInfo(asked)), 'serverTime');
await document.ask('settled', 'exchange info', info({}));
await document.ask('settled', 'info of one', info({ symbol: 'BTCUSDT' }));
await document.ask('settled', 'info of two', info({ symbols: ['BTCUSDT', 'ETHUSDT'] }));
await document.ask('settled', 'ping', () => data(client.ping()));
await document.ask('open', 'newest', () => data(client.klines('BTCUSDT', '1h')));
await document.ask('open', 'newest in microseconds', () =>
  data(client.klines('BTCUSDT', '1h', { limit: 10, timeUnit: 'microsecond' })),
);
await document.ask('live', 'time', () => data(client.time()));
await document.ask('live', 'depth', () => data(client.depth('BTCUSDT', { limit: 10 })));
await document.ask('live', 'trades', () => data(client.trades('BTCUSDT', { limit: 10 })));
await document.ask('live', 'average price', () => data(client.avgPrice('BTCUSDT')));
await document.ask('live', 'ticker', () => data(client.ticker24hr('BTCUSDT')));
await document.ask('live', 'tickers', () => data(client.ticker24hr('', ['BTCUSDT', 'ETHUSDT'])));
await document.ask('live', 'price', () => data(client.tickerPrice('BTCUSDT')));
await document.ask('live', "book's top", () => data(client.bookTicker('BTCUSDT')));
await document.ask('live', 'rolling window', () => data(client.rollingWindowTicker('BTCUSDT', [], { windowSize: '2h' })));
await document.ask('refused', 'unknown symbol', () => data(client.klines('NOPEUSDT', '1m')));
await document.ask('refused', 'bad interval', () => data(client.klines('BTCUSDT', '7m')));
document.print();
