import { CoinMClient, MainClient, USDMClient } from 'binance';
import { document, pages, without } from './document.mjs';

const baseUrl = document.base;
const clients = {
  spot: new MainClient({ baseUrl, disableTimeSync: true }),
  usdm: new USDMClient({ baseUrl, disableTimeSync: true }),
  coinm: new CoinMClient({ baseUrl, disableTimeSync: true }),
};
const symbols = { spot: 'BTCUSDT', usdm: 'BTCUSDT', coinm: 'BTCUSD_PERP' };

for (const [name, wanted] of Object.entries(document.ranges)) {
  const { symbol, interval, market } = wanted;
  const ask = (span) => clients[market].getKlines({ symbol, interval, ...span });
  await document.ask('settled', name, () => pages(wanted, ask));
}
const span = { startTime: document.ranges.spot_hours.start, interval: '2h', limit: 300 };
await document.ask('settled', 'for drawing', () => clients.spot.getUIKlines({ symbol: 'BTCUSDT', ...span }));
for (const market of ['usdm', 'coinm']) {
  const client = clients[market];
  const symbol = symbols[market];
  const pair = symbol.split('_')[0];
  const kinds = {
    mark: () => client.getMarkPriceKlines({ symbol, ...span }),
    index: () => client.getIndexPriceKlines({ pair, ...span }),
    premium: () => client.getPremiumIndexKlines({ symbol, ...span }),
    continuous: () => client.getContinuousContractKlines({ pair, contractType: 'PERPETUAL', ...span }),
  };
  for (const [name, call] of Object.entries(kinds)) await document.ask('settled', `${market} ${name}`, call);
}
const info = (client, ...asked) => async () => without(await client.getExchangeInfo(...asked), 'serverTime');
await document.ask('settled', 'spot info of two', info(clients.spot, { symbols: ['BTCUSDT', 'ETHUSDT'] }));
for (const [market, client] of Object.entries(clients)) {
  const symbol = symbols[market];
  await document.ask('settled', `${market} exchange info`, info(client));
  await document.ask('settled', `${market} ping`, () => client.testConnectivity());
  await document.ask('open', `${market} newest`, () => client.getKlines({ symbol, interval: '1h' }));
  // MainClient asks Binance itself for the time, whatever its baseUrl: so no time synchronisation, and no question.
  if (market !== 'spot') await document.ask('live', `${market} time`, () => client.getServerTime());
  await document.ask('live', `${market} depth`, () => client.getOrderBook({ symbol, limit: 10 }));
  await document.ask('live', `${market} trades`, () => client.getRecentTrades({ symbol, limit: 10 }));
  await document.ask('live', `${market} ticker`, () => client.get24hrChangeStatistics({ symbol }));
  await document.ask('live', `${market} price`, () => client.getSymbolPriceTicker({ symbol }));
  await document.ask('refused', `${market} unknown symbol`, async () => {
    try {
      return await client.getKlines({ symbol: 'NOPE', interval: '1m' });
    } catch (error) {
      throw { code: error.code, message: error.message }; // less the headers, which are another each time
    }
  });
}
await document.ask('live', 'system status', () => clients.spot.getSystemStatus());
await document.ask('live', 'convert pairs', () => clients.usdm.getAllConvertPairs({ fromAsset: 'BTC' }));
document.print();
