import Binance from 'binance-api-node';
import { frames, topicOf } from './frames.mjs';

const client = (Binance.default ?? Binance)({
  wsBase: frames.ws + '/ws',
  wsFutures: frames.ws + '/usdm/market/ws',
  wsFuturesPublic: frames.ws + '/usdm/public/ws',
  wsDelivery: frames.ws + '/coinm/ws',
});
const keep = (market) => (frame) => frames.add(market, topicOf(frame), frame);
const raw = false; // its own names for members aside
client.ws.candles('BTCUSDT', '1m', keep('spot'), raw);
client.ws.trades('BTCUSDT', keep('spot'), raw);
client.ws.aggTrades('BTCUSDT', keep('spot'), raw);
client.ws.depth('BTCUSDT', keep('spot'), raw);
client.ws.miniTicker('BTCUSDT', keep('spot'), raw);
client.ws.futuresCandles('BTCUSDT', '1m', keep('usdm'), raw);
client.ws.futuresAggTrades('BTCUSDT', keep('usdm'), raw);
client.ws.futuresDepth('BTCUSDT', keep('usdm'), raw);
client.ws.futuresTicker('BTCUSDT', keep('usdm'), raw);
client.ws.deliveryCandles('BTCUSD_PERP', '1m', keep('coinm'), raw);
client.ws.deliveryAggTrades('BTCUSD_PERP', keep('coinm'), raw);
client.ws.deliveryDepth('BTCUSD_PERP', keep('coinm'), raw);
await frames.print();
