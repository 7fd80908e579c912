import ccxt from 'ccxt';
import { document } from './document.mjs';

const exchange = new ccxt.binance();
// The private interfaces stay with Binance.
for (const name of ['public', 'fapiPublic', 'fapiPublicV2', 'fapiPublicV3', 'fapiData', 'dapiPublic', 'dapiData']) {
  exchange.urls.api[name] = document.base + '/' + exchange.urls.api[name].split('/').slice(3).join('/');
}
const names = { BTCUSDT: 'BTC/USDT', ETHUSDT: 'ETH/USDT', BNBUSDT: 'BNB/USDT:USDT', BTCUSD_PERP: 'BTC/USD:BTC' };

await document.ask('settled', 'load_markets', () => exchange.loadMarkets());
for (const [name, wanted] of Object.entries(document.ranges)) {
  const { interval, start, end } = wanted;
  const symbol = names[wanted.symbol];
  const rows = (...asked) => exchange.fetchOHLCV(symbol, interval, start, ...asked);
  await document.ask('settled', `${name}, a page`, () => rows(500));
  await document.ask('settled', `${name}, until`, () => rows(1000, { until: end }));
  await document.ask('settled', `${name}, paginate`, () => rows(undefined, { until: end, paginate: true }));
}
for (const symbol of ['BTC/USDT', 'BTC/USDT:USDT', 'BTC/USD:BTC']) {
  await document.ask('open', `${symbol} newest`, () => exchange.fetchOHLCV(symbol, '1h'));
  await document.ask('live', `${symbol} ticker`, () => exchange.fetchTicker(symbol));
  await document.ask('live', `${symbol} order book`, () => exchange.fetchOrderBook(symbol, 20));
  await document.ask('live', `${symbol} trades`, () => exchange.fetchTrades(symbol, undefined, 10));
}
await document.ask('live', 'time', () => exchange.fetchTime());
await document.ask('live', 'tickers', () => exchange.fetchTickers(['BTC/USDT', 'ETH/USDT']));
await document.ask('live', 'funding rate', () => exchange.fetchFundingRate('BTC/USDT:USDT'));
await document.ask('refused', 'unknown symbol', () => exchange.publicGetKlines({ symbol: 'NOPEUSDT', interval: '1m' }));
await document.ask('refused', 'unknown market', () => exchange.fetchOHLCV('NOPE/USDT', '1m'));
document.print();
