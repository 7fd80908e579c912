// The frames that a client was given, as one JSON document on standard output: the same as frames.py, for Node.

const [base, until] = process.argv.slice(2);
const found = {};
const states = {};
const errors = [];

export const frames = {
  base,
  ws: base.replace(/^http/, 'ws'),

  // For how long to listen yet.
  left: () => Math.max(0, Number(until) * 1000 - Date.now()),

  add(market, topic, frame) {
    (found[`${market} ${topic}`] ??= []).push(frame);
  },

  state(name, key, value) {
    (states[name] ??= {})[key] = structuredClone(value); // a book's levels change in place
  },

  error(what) {
    errors.push(String(what).slice(0, 300));
  },

  async print() {
    await new Promise((resolve) => setTimeout(resolve, frames.left()));
    process.stdout.write('\n' + JSON.stringify({ frames: found, states, errors }) + '\n', () => process.exit(0));
  },
};

export function topicOf(frame) {
  const subject = (frame.s ?? frame.ps ?? '').toLowerCase();
  return `${subject}@${frame.e}` + (frame.k ? `_${frame.k.i}` : '');
}
