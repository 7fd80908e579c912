import ccxt from 'ccxt';
import { frames, topicOf } from './frames.mjs';

class Binance extends ccxt.pro.binance {
  handleMessage(client, message) {
    if (message.e) {
      const market = ['usdm', 'coinm'].find((one) => client.url.includes(`/${one}/`)) ?? 'spot';
      frames.add(market, topicOf(message), structuredClone(message));
    }
    super.handleMessage(client, message);
  }
}

const exchange = new Binance();
for (const name of ['public', 'fapiPublic', 'fapiPublicV2', 'fapiPublicV3', 'fapiData', 'dapiPublic', 'dapiData']) {
  exchange.urls.api[name] = frames.base + '/' + exchange.urls.api[name].split('/').slice(3).join('/');
}
Object.assign(exchange.urls.api.ws, {
  spot: frames.ws + '/stream/ws',
  margin: frames.ws + '/stream/ws',
  linear: frames.ws + '/usdm/ws', // 'future' and 'delivery' until 4.5.84
  inverse: frames.ws + '/coinm/ws',
  future: frames.ws + '/usdm/ws',
  delivery: frames.ws + '/coinm/ws',
});
await exchange.loadHttpProxyAgent(); // before any `ws://` address that is not `wss://`
await exchange.loadMarkets();
for (const symbol of ['BTC/USDT', 'BTC/USDT:USDT', 'BTC/USD:BTC']) {
  const watch = async (call, keep) => {
    while (frames.left()) {
      try {
        keep(await call());
      } catch (problem) {
        frames.error(problem);
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
  };
  watch(() => exchange.watchOHLCV(symbol, '1m'), (rows) => {
    for (const row of rows) frames.state(`${symbol} candle`, row[0], [row[0]]);
  });
  watch(() => exchange.watchTrades(symbol), (trades) => {
    for (const one of trades) frames.state(`${symbol} trade`, one.id, [one.timestamp, one.price, one.amount, one.side]);
  });
  watch(() => exchange.watchOrderBook(symbol), (book) => {
    frames.state(`${symbol} book`, book.nonce, [book.bids.slice(0, 20), book.asks.slice(0, 20)]);
  });
}
await frames.print();
