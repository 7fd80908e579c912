import Binance from 'binance-api-node';
import { document, pages, without } from './document.mjs';

const client = (Binance.default ?? Binance)({
  httpBase: document.base,
  httpFutures: document.base,
  httpDelivery: document.base,
});
const candles = { spot: client.candles, usdm: client.futuresCandles, coinm: client.deliveryCandles };

for (const [name, wanted] of Object.entries(document.ranges)) {
  const { symbol, interval, market } = wanted;
  await document.ask('settled', name, () => pages(wanted, (span) => candles[market]({ symbol, interval, ...span })));
}
const span = { startTime: document.ranges.spot_hours.start, interval: '2h', limit: 300 };
await document.ask('settled', 'usdm mark', () => client.futuresMarkPriceCandles({ symbol: 'BTCUSDT', ...span }));
await document.ask('settled', 'usdm index', () => client.futuresIndexPriceCandles({ pair: 'BTCUSDT', ...span }));
const infos = {
  spot: client.exchangeInfo,
  usdm: client.futuresExchangeInfo,
  coinm: client.deliveryExchangeInfo,
};
for (const [market, call] of Object.entries(infos)) {
  await document.ask('settled', `${market} exchange info`, async () => without(await call(), 'serverTime'));
}
await document.ask('settled', 'info of one', async () =>
  without(await client.exchangeInfo({ symbol: 'ETHUSDT' }), 'serverTime'),
);
await document.ask('settled', 'ping', () => client.ping());
await document.ask('settled', 'usdm ping', () => client.futuresPing());
await document.ask('open', 'newest', () => client.candles({ symbol: 'BTCUSDT', interval: '1h' }));
await document.ask('open', 'usdm newest', () => client.futuresCandles({ symbol: 'BTCUSDT', interval: '1h' }));
await document.ask('open', 'coinm newest', () => client.deliveryCandles({ symbol: 'BTCUSD_PERP', interval: '1h' }));
await document.ask('live', 'time', () => client.time());
await document.ask('live', 'usdm time', () => client.futuresTime());
await document.ask('live', 'prices', () => client.prices());
await document.ask('live', 'book', () => client.book({ symbol: 'BTCUSDT', limit: 10 }));
await document.ask('live', 'daily statistics', () => client.dailyStats({ symbol: 'BTCUSDT' }));
await document.ask('live', 'average price', () => client.avgPrice({ symbol: 'BTCUSDT' }));
await document.ask('live', "books' tops", () => client.allBookTickers());
await document.ask('live', 'usdm prices', () => client.futuresPrices());
await document.ask('live', 'usdm mark price', () => client.futuresMarkPrice());
await document.ask('live', 'usdm funding', () => client.futuresFundingRate({ symbol: 'BTCUSDT', limit: 10 }));
await document.ask('refused', 'unknown symbol', () => client.candles({ symbol: 'NOPEUSDT', interval: '1m' }));
await document.ask('refused', 'usdm, bad interval', () => client.futuresCandles({ symbol: 'BTCUSDT', interval: '7m' }));
document.print();
