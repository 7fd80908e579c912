-- Handle a replica's message about its family's weight; upstream/replicas/protocol.py explains the protocol.
-- KEYS: the budget and the gate, both hashes. ARGV: the replica's id; register, report or leave; fifteen numbers; then
-- seven for each minute: its number, drawn, entered, first, need, extra and header.
-- In the budget: `run` of the server, `meta`, `r:<id>` for each replica, `m:<number>` for each minute. All but `run`
-- are whole numbers and a checksum over them and the field's name.
-- Returns nothing, and changes nothing, if another process has registered with the id since.

local WHOLE, PARTS, FLOOR, MINUTE = 1000000, 990000, 0.1, 60000
local FORGOT, NEW, ABSENT, REPLACED, GAP, SWEEP, KEPT, SURE, MOST_REPLICAS, MOST_LATE =
  10000, 1100, 600000, 60000, 10000, 10000, 4, 10000, 4096, 1000
local META = {
  'born', 'minute', 'newest', 'expect', 'returned', 'count', 'total', 'limit', 'ahead', 'error', 'since', 'beat', 'most',
}

local me, kind = ARGV[1], ARGV[2]
local seq, now_ms, allowed, limit, part, peers, born, assumed, returning, process, error_ms, enters, version, rank, life =
  unpack((function()
    local found = {}
    for i = 3, 17 do found[#found + 1] = tonumber(ARGV[i]) end
    return found
  end)())
local sure = error_ms <= SURE
local tallies = {}
for i = 18, #ARGV, 7 do
  local function number(n) return tonumber(ARGV[i + n]) end
  tallies[#tallies + 1] = {
    n = number(0), drawn = number(1), entered = number(2), first = number(3), need = number(4), extra = number(5),
    header = number(6),
  }
end
local first, last = tallies[1].n, tallies[#tallies].n

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answered, info = pcall(redis.call, 'INFO', 'server')
local run = answered and string.match(info, 'run_id:(%x+)') or 'unknown'

local function checksum(field, body)
  return string.sub(redis.sha1hex(field .. ' ' .. body), 1, 12)
end

-- Whole numbers that this script wrote in this field; an error for anything else.
local function numbers(field, text, least)
  local found = {}
  local body, sum = string.match(text, '^([%d%- ]+) (%x+)$')
  if not body or sum ~= checksum(field, body) then error('not ours') end
  for word in string.gmatch(body, '%S+') do
    found[#found + 1] = tonumber(word)
  end
  if #found < least then error('not ours') end
  return found
end

local function text(field, list)
  for i, value in ipairs(list) do list[i] = string.format('%.0f', value) end
  local body = table.concat(list, ' ')
  return body .. ' ' .. checksum(field, body)
end

local function replica(id, written)
  local found = numbers('r:' .. id, written, 7)
  local one = {
    seq = found[1], seen = found[2], part = found[3], returned = found[4], gone = found[5], process = found[6],
    joined = found[7], rows = {},
  }
  for i = 8, #found - 3, 4 do
    one.rows[found[i]] = {drawn = found[i + 1], counted = found[i + 2], entered = found[i + 3]}
  end
  return one
end

local function serve(keeps)
  local meta, minutes = {}, {}
  local found = keeps and redis.call('HMGET', KEYS[1], 'run', 'meta', 'r:' .. me) or {}
  if found[1] and found[2] then
    local values = numbers('meta', found[2], #META)
    for i, name in ipairs(META) do meta[name] = values[i] end
    if math.max(meta.born, meta.since, meta.beat) > now + MINUTE then error('not ours') end
    if sure and meta.minute > last + 1 then error('not ours') end
    if found[1] ~= run then meta.born, meta.minute, meta.returned, meta.error = now, 0, 0, -1 end
  else
    redis.call('DEL', KEYS[1])
    for _, name in ipairs(META) do meta[name] = 0 end
    meta.born, meta.since, meta.beat, meta.error = now, now, now, -1
  end
  if now - meta.beat > GAP then meta.since = now end
  local sweeps = math.floor(now / SWEEP) ~= math.floor(meta.beat / SWEEP)
  meta.beat = now
  local mine = found[3] and replica(me, found[3])
    or {seq = 0, seen = now, part = 0, returned = 0, gone = 1, process = process, joined = now, rows = {}}
  if kind ~= 'register' and mine.process ~= process and mine.seen >= meta.born then return {} end
  mine.process = process
  if kind == 'register' then mine.joined = now end

  if kind == 'report' and mine.seq > seq + MOST_LATE or mine.seen > now + MINUTE then error('not ours') end

  local function load(n)
    if minutes[n] then return minutes[n] end
    local field = 'm:' .. string.format('%d', n)
    local written = redis.call('HGET', KEYS[1], field)
    local values = written and numbers(field, written, 6) or {0, 0, 0, 0, 0, 0}
    minutes[n] = {total = values[1], entered = values[2], header = values[3], lanes = {values[4], values[5], values[6]}}
    return minutes[n]
  end
  for _, tally in ipairs(tallies) do load(tally.n) end

  -- Now and then: replicas that vanished lose their part, and everything is counted again. All that were heard after the
  -- latest one joined ran when it did. If they are as many as there ever are at once, one that vanished before is dead.
  if sweeps then
    local all, others, entered, joined, alive = redis.call('HGETALL', KEYS[1]), {}, {}, mine.joined, 0
    meta.count, meta.total, meta.returned = 0, 0, 0
    for i = 1, #all, 2 do
      local what, name = string.match(all[i], '^(%a):(.+)$')
      if what == 'm' and sure and math.abs(tonumber(name) - first) > KEPT then
        redis.call('HDEL', KEYS[1], all[i])
      elseif what == 'r' then
        local one = replica(name, all[i + 1])
        others[name], joined, meta.count = one, math.max(joined, one.joined), meta.count + 1 - one.gone
      end
    end
    for _, one in pairs(others) do
      if one.gone == 0 and one.seen > joined then alive = alive + 1 end
    end
    meta.most = math.max(meta.most, alive)
    local dead_after = alive >= math.max(meta.most, assumed) and REPLACED or ABSENT
    for name, one in pairs(others) do
      local absent = name ~= me and now - math.max(one.seen, meta.since) or 0
      if absent > (one.seen <= joined and dead_after or ABSENT) then
        redis.call('HDEL', KEYS[1], 'r:' .. name)
        meta.count = meta.count - 1 + one.gone
        if one.returned == meta.born then meta.expect = math.max(0, meta.expect - 1) end -- it returned, and died
      else
        meta.total = meta.total + one.part
        meta.returned = meta.returned + (one.returned == meta.born and 1 or 0)
        for n, row in pairs(one.rows) do entered[n] = (entered[n] or 0) + row.entered * one.part end
      end
    end
    for n, minute in pairs(minutes) do minute.entered = entered[n] or 0 end
  end

  -- A replica's part, in the whole and in each minute that it entered.
  local function set_part(value)
    local more = value - mine.part
    mine.part, meta.total = value, meta.total + more
    for n, row in pairs(mine.rows) do
      if row.entered == 1 then load(n).entered = load(n).entered + more end
    end
  end

  -- Count weight of a replica in a minute; what it spends of its part is reserved, and counts once it enters.
  local function count(row, minute, weight)
    row.counted, minute.total = row.counted + weight, minute.total + weight
    minute.lanes[rank + 1] = minute.lanes[rank + 1] + weight
  end

  -- What it reports of itself. A late message lowers nothing and gets nothing.
  local newer = kind == 'register' or seq > mine.seq
  local dead = mine.part -- what a dead process may have had; in a store that lost its data, all that is missing
  if not found[3] and returning == 1 and meta.expect > meta.returned then dead = math.max(0, PARTS - meta.total) end
  for _, tally in ipairs(tallies) do
    local row = mine.rows[tally.n] or {drawn = 0, counted = 0, entered = 0}
    mine.rows[tally.n] = row
    local begun = meta.error < 0 or tally.n * MINUTE <= now + meta.ahead + meta.error
    if kind == 'register' and row.entered == 0 and begun then -- the old process died, and may have spent its part
      row.drawn = math.max(row.drawn, math.floor(dead * allowed / WHOLE))
      count(row, minutes[tally.n], math.max(0, row.drawn - row.counted))
    end
  end
  for _, tally in ipairs(tallies) do
    local row, minute = mine.rows[tally.n], minutes[tally.n]
    minute.header = math.max(minute.header, tally.header)
    -- It was confirmed once: what Redis has now is older. In minutes that none has entered since, that is known already.
    if newer and tally.n > meta.minute and tally.entered == 1 and (row.entered == 0 or row.drawn < tally.drawn) then
      meta.born, meta.minute, meta.returned = now, 0, 0
    end
    local more = math.max(0, tally.drawn - row.drawn)
    row.drawn = row.drawn + more
    if row.entered == 1 or kind ~= 'report' or born ~= meta.born then count(row, minute, row.drawn - row.counted) end
  end
  if sure then
    if meta.minute == 0 then meta.minute = last end
    meta.ahead, meta.error = now_ms - now, error_ms
  end
  if now >= meta.born + ABSENT then meta.expect = 0 end
  if newer then
    if mine.gone == 1 then mine.gone, meta.count = 0, meta.count + 1 end
    if born ~= meta.born and (born > 0 or returning == 1) and mine.returned ~= meta.born then
      mine.returned, meta.returned = meta.born, meta.returned + 1
      if now < meta.born + ABSENT then meta.expect = math.max(meta.expect, peers) end
    end
    mine.seq, mine.seen = seq, now
    set_part(kind == 'leave' and 0 or part)
    if kind == 'leave' then mine.gone, meta.count = 1, meta.count - 1 end
    for n in pairs(mine.rows) do
      if sure and math.abs(n - first) > KEPT then mine.rows[n] = nil end
    end
  end

  local phantoms = math.max(0, meta.expect - meta.returned)
  local unshared = meta.minute == 0 or last <= meta.minute or now < meta.born + FORGOT
  local shares = not unshared and first > meta.minute and enters == 1 and newer and kind == 'report'
    and meta.count <= MOST_REPLICAS
  local replicas = meta.count + phantoms
  if unshared and meta.expect == 0 then replicas = math.max(replicas, assumed) end
  local even, from = math.floor(PARTS / math.max(1, replicas)), meta.newest + 1
  local timed = sure or meta.error < 0 -- else it learns the time by this reply, and grows with its next message
  if newer and kind ~= 'leave' and timed and mine.part < even and phantoms == 0 and now >= meta.born + NEW then
    local grows = math.max(0, math.min(even - mine.part, PARTS - meta.total))
    local free = unshared -- and it is not spent in these minutes
    for _, tally in ipairs(tallies) do
      local minute = minutes[tally.n]
      free = free and minute.total + (meta.total - minute.entered + grows) * allowed / WHOLE <= allowed
    end
    if free then from = 0 end
    set_part(mine.part + grows)
  end
  if shares then meta.newest = math.max(meta.newest, last) end

  -- A replica that enters a minute exchanges its part in it for a first chunk.
  for _, tally in ipairs(tallies) do
    local row, minute = mine.rows[tally.n], minutes[tally.n]
    if shares and row.entered == 0 then
      row.entered, row.drawn = 1, math.max(row.drawn, tally.first)
      minute.entered = minute.entered + mine.part
      count(row, minute, row.drawn - row.counted)
    end
  end

  local gate = redis.pcall('HMGET', KEYS[2], 'version', 'text', 'new_until_ms')
  local written = not gate.err and tonumber(gate[1]) or 0
  local new_until_ms = tonumber(gate[3] or '') or 0
  local new = written == 0 or (now < new_until_ms and now >= new_until_ms - NEW)

  local newcomers = limit > 0 and math.floor((WHOLE - PARTS) * allowed / WHOLE) or 0
  local missing = phantoms > 0 and math.max(0, PARTS - meta.total) or 0
  local function draw(tally)
    local minute, row = minutes[tally.n], mine.rows[tally.n]
    if not shares or written ~= version then return end
    local need = math.max(0, tally.need - math.max(0, row.drawn - tally.drawn)) -- it may have got some by now
    local kept = math.ceil((meta.total - minute.entered + missing) * allowed / WHOLE)
    local floor, lanes = math.floor(allowed * FLOOR), 0
    local due = math.ceil(floor * math.min(MINUTE, math.max(0, (tally.n + 1) * MINUTE - now_ms)) / MINUTE)
    for lane = 1, 3 do
      if lane ~= rank + 1 then lanes = lanes + math.max(0, math.min(due, floor - minute.lanes[lane])) end
    end
    local left = allowed - newcomers - minute.total - math.max(kept, lanes)
    if need > left or left <= 0 then return end
    local grant = math.min(left, math.max(need, math.min(need + tally.extra, math.floor(left / meta.count))))
    row.drawn = row.drawn + grant
    count(row, minute, grant)
  end

  if limit > 0 then meta.limit = limit end
  local reply = {
    shares and 1 or 0, meta.born, math.min(mine.part, even), from, meta.count + phantoms, meta.limit,
    not sure and meta.error >= 0 and now + meta.ahead or 0, meta.error, written, new and 1 or 0, math.max(0, now - written),
    written ~= version and gate[2] or '',
  }
  for _, tally in ipairs(tallies) do
    draw(tally)
    local row, minute = mine.rows[tally.n], minutes[tally.n]
    for _, value in ipairs({tally.n, row.drawn, row.entered, minute.total, minute.header}) do
      reply[#reply + 1] = value
    end
  end

  local values, one = {}, {mine.seq, mine.seen, mine.part, mine.returned, mine.gone, mine.process, mine.joined}
  for i, name in ipairs(META) do values[i] = meta[name] end
  for n, row in pairs(mine.rows) do
    for _, value in ipairs({n, row.drawn, row.counted, row.entered}) do one[#one + 1] = value end
  end
  local write = {'run', run, 'meta', text('meta', values), 'r:' .. me, text('r:' .. me, one)}
  for n, minute in pairs(minutes) do
    local field = 'm:' .. string.format('%d', n)
    write[#write + 1] = field
    write[#write + 1] = text(field, {minute.total, minute.entered, minute.header, unpack(minute.lanes)})
  end
  redis.call('HSET', KEYS[1], unpack(write))
  redis.call('PEXPIRE', KEYS[1], life)
  return reply
end

-- Foreign data under our keys makes it fail before it writes: then it is repeated without that data.
local done, reply = pcall(serve, true)
if done then return reply end
redis.call('DEL', KEYS[1])
return serve(false)
