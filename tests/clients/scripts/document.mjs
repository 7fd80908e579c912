// What a client got, as one JSON document on standard output: the same as document.py, for Node.

const [base, ranges] = process.argv.slice(2);
const sections = { settled: {}, open: {}, live: {}, refused: {} };

export const document = {
  base,
  ranges: JSON.parse(ranges),

  async ask(section, name, call) {
    try {
      sections[section][name] = { got: (await call()) ?? null };
    } catch (error) {
      sections[section][name] = { failed: told(error) };
    }
  },

  print() {
    process.stdout.write('\n' + JSON.stringify(sections) + '\n', () => process.exit(0));
  },
};

// Refusals come as Error, as the body, or as axios' error with the body inside.
function told(error) {
  const body = error?.response?.data ?? error?.body;
  const what = body ? { status: error.response?.status, body } : error instanceof Error ? error.message : error;
  const text = typeof what === 'string' ? what : JSON.stringify(what);
  return text.replaceAll(base, '<base>').replaceAll(base.split('//')[1], '<base>');
}

export const without = (body, ...names) =>
  Object.fromEntries(Object.entries(body).filter(([name]) => !names.includes(name)));

// Pages from the last opening on, plus one millisecond. (COIN-M answers with the newest page of a range: one page.)
export async function pages(wanted, ask, limit = 1000) {
  const found = [];
  for (let start = wanted.start; ; ) {
    const rows = await ask({ startTime: start, endTime: wanted.end, limit });
    found.push(...rows);
    if (rows.length < limit) return found;
    const last = rows[rows.length - 1];
    start = Number(last[0] ?? last.openTime) + 1;
    if (start > wanted.end) return found;
  }
}
