import { WebsocketClient } from 'binance';
import { frames, topicOf } from './frames.mjs';

const quiet = { trace() {}, info() {}, error: (...told) => console.error(...told) };
const wanted = {
  spot: ['', { main: ['btcusdt@kline_1m', 'btcusdt@trade', 'btcusdt@depth', 'btcusdt@miniTicker'] }],
  usdm: [
    '/usdm',
    {
      usdmMarket: ['btcusdt@kline_1m', 'btcusdt@aggTrade', 'btcusdt@markPrice@1s'],
      usdmPublic: ['btcusdt@depth@100ms', 'btcusdt@bookTicker'],
    },
  ],
  coinm: ['/coinm', { coinm: ['btcusd_perp@kline_1m', 'btcusd_perp@aggTrade', 'btcusd_perp@bookTicker'] }],
};
for (const [market, [path, topics]] of Object.entries(wanted)) {
  const client = new WebsocketClient({ wsUrl: frames.ws + path }, quiet);
  client.on('message', (message) => {
    if (message.e) frames.add(market, topicOf(message), message);
  });
  client.on('exception', (problem) => frames.error(JSON.stringify(problem)));
  for (const [key, names] of Object.entries(topics)) client.subscribe(names, key);
}
await frames.print();
