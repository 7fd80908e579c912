-- One step of a family's ledger; `upstream/replicas/protocol.py` has its theory. KEYS[1]: the ledger, in MessagePack.
-- ARGV: the replica's name, its message as JSON (or '' for goodbye), its moment, life of the key in milliseconds.

local WHOLE, PARTS, RATION, MINUTE = 1000000, 990000, 0.3, 60000
local FROZEN, FORGOT, ABSENT, GAP, FLOOR = 3000, 10000, 600000, 10000, 0.1
local MINUTES, MOST_MINUTES, MOST_PEERS, SURE, DAY, QUIET = 4, 12, 4096, 10000, 86400000, 1100
local me, now = ARGV[1], tonumber(ARGV[3])

local function server()
  local ok, info = pcall(redis.call, 'INFO', 'server')
  return ok and string.match(info, 'run_id:(%x+)') or ''
end

local function server_ms()
  local own = redis.call('TIME')
  return own[1] * 1000 + math.floor(own[2] / 1000)
end

local function fresh(run)
  return {quiet = server_ms() + QUIET, run = run, born = now, beat = now, since = now, expect = 0, version = now, gate = '', limit = 0, ahead = 0, error = -1, peers = {}, minutes = {}}
end

-- Whatever else rests under our key is nothing of ours, and nor is what says to come from after tomorrow: by the word of
-- one that knows which day it is (`sure`).
local function read(run, sure)
  local got, text = pcall(redis.call, 'GET', KEYS[1])
  if not got or type(text) ~= 'string' then return fresh(run) end
  local ok, found = pcall(cmsgpack.unpack, text)
  if not ok or type(found) ~= 'table' or type(found.version) ~= 'number' or type(found.gate) ~= 'string'
    or type(found.limit) ~= 'number' or type(found.expect) ~= 'number' or type(found.ahead) ~= 'number'
    or type(found.error) ~= 'number' then
    return fresh(run)
  end
  local last = math.max(found.born, found.beat, found.since)
  for _, peer in pairs(found.peers) do last = math.max(last, peer.heard) end
  if not (last < (sure and now + DAY or math.huge)) then return fresh(run) end
  if found.run ~= run then
    found.run, found.born, found.error = run, now, -1
  end
  return found
end

-- One that is sure of the time puts right what others thought, and says how far this server's clock is from it.
local function put_right(state, err)
  local own_ms = server_ms()
  if err > SURE then return state.error >= 0 and own_ms + state.ahead or 0 end
  state.ahead, state.error = now - own_ms, err
  if state.born > now + SURE then state.born = now end
  if state.beat > now + SURE then state.beat, state.since = now, now end
  for _, peer in pairs(state.peers) do peer.heard = math.min(peer.heard, now + SURE) end
  return 0
end

local function spent(row) return row.lanes[1] + row.lanes[2] + row.lanes[3] end
local function part_in(peer, n) return n < peer.changes and peer.part or peer.next end

-- The bound of a part in the minutes from..upto; without `upto` in all from there on.
local function bound(pick, peer, from, upto)
  if peer.changes <= from then return peer.next end
  if upto and upto < peer.changes then return peer.part end
  return pick(peer.part, peer.next)
end

local function ration(part, allowed, n, at)
  local left = math.min(MINUTE, math.max(0, (n + 1) * MINUTE - at))
  return part * allowed * RATION * left / MINUTE / WHOLE
end

-- One of those that were there before this ledger: it is here, or somebody told that it is no more.
local function accounted(state, peer) return peer.known and (not peer.gone or peer.gone >= state.born) end

local function forget_the_gone(state, err)
  if now - state.beat > GAP then state.since = now end
  state.beat = math.max(state.beat, now)
  for name, peer in pairs(state.peers) do
    local last = math.max(peer.heard, state.since) + ABSENT
    if peer.gone then last = math.max(peer.changes * MINUTE + MINUTE, accounted(state, peer) and state.born + ABSENT or 0) end
    if name ~= me and now - last > err then state.peers[name] = nil end
  end
  local count, most = 0, err <= SURE and MINUTES or MOST_MINUTES -- who is not sure of the time takes none away
  for _ in pairs(state.minutes) do count = count + 1 end
  while count > most do
    local worst, far = nil, -1
    for n in pairs(state.minutes) do
      local distance = math.abs(tonumber(n) - now / MINUTE)
      if distance > far then worst, far = n, distance end
    end
    state.minutes[worst] = nil
    count = count - 1
  end
end

-- It is no more: its part is free from the next minute on. One that a young ledger never met was there before it, with
-- a part that nobody else of that time tells to have.
local function leave(state, name, at)
  local peer = state.peers[name]
  if not peer and now < state.born + ABSENT then
    peer = {heard = now, part = PARTS, next = 0, changes = 0, known = true}
    for _, other in pairs(state.peers) do
      if other.known then
        peer.part = math.max(0, peer.part - bound(math.min, other, math.floor(now / MINUTE), math.floor(at / MINUTE)))
      end
    end
    state.peers[name] = peer
  end
  if peer and peer.gone then
    peer.changes = math.min(peer.changes, math.floor(at / MINUTE) + 1)
  elseif peer then
    peer.part = math.max(peer.part, peer.next)
    peer.next, peer.gone, peer.changes = 0, now, math.max(peer.changes, math.floor(at / MINUTE) + 1)
  end
end

local function goodbye(state)
  forget_the_gone(state, MINUTE)
  leave(state, me, now)
  redis.call('SET', KEYS[1], cmsgpack.pack(state), 'PX', ARGV[4])
  return ''
end

local ask = ARGV[2] ~= '' and cjson.decode(ARGV[2]) or nil

local function serve(state)
  local time = put_right(state, ask.error_ms)
  if time > 0 and math.abs(now - time) > DAY then now = time end -- a day that is not today's would undo all
  forget_the_gone(state, ask.error_ms)
  if ask.limit > 0 then state.limit = ask.limit end
  for _, name in ipairs(ask.instead) do leave(state, name, now + ask.error_ms) end

  -- What the caller knows of itself; a message that comes late lowers nothing.
  local rows = {}
  for i, tally in ipairs(ask.tallies) do
    local key = string.format('%d', tally.minute)
    local minute = state.minutes[key] or {extra = 0, rows = {}}
    state.minutes[key] = minute
    local row = minute.rows[me] or {lanes = {0, 0, 0}, done = 0, heard = 0, base = 0, modest = false}
    minute.rows[me] = row
    if spent(row) < tally.confirmed then state.born = now end
    for lane = 1, 3 do row.lanes[lane] = math.max(row.lanes[lane], tally.lanes[lane]) end
    row.done = math.max(row.done, tally.done)
    minute.extra = math.max(minute.extra, tally.extra)
    rows[i] = row
  end

  -- Parts.
  local young = now < state.born + ABSENT
  local peer = state.peers[me]
  local returns = ask.peers > 0
  if not young then
    state.expect = 0
  elseif not state.peers[me] then
    state.expect = math.max(state.expect, ask.peers)
  end
  if not peer or peer.gone then peer = {heard = 0, part = 0, next = 0, changes = 0, known = returns or not young} end
  if now >= peer.heard then
    peer.part, peer.next, peer.changes, peer.heard = ask.part, ask.next_part, ask.changes, now
  end
  local others, count, known = {}, 1, accounted(state, peer) and 1 or 0
  for name, other in pairs(state.peers) do
    if name ~= me then
      others[name] = other
      count = count + (other.gone and 0 or 1)
      known = known + (accounted(state, other) and 1 or 0)
    end
  end
  local phantoms = math.max(0, state.expect - known)
  local first_minute = math.floor(state.born / MINUTE)
  local replicas = count + phantoms
  if state.expect == 0 and (now < state.born + FORGOT or math.floor(now / MINUTE) <= first_minute) then
    replicas = math.max(replicas, ask.assumed)
  end
  local even = math.floor(PARTS / replicas)

  -- Those that are still expected have no more than what the others of their time leave of the whole.
  local function unclaimed(from, upto)
    if phantoms == 0 then return 0 end
    local left = PARTS - (peer.known and bound(math.min, peer, from, upto) or 0)
    for _, other in pairs(others) do
      if other.known then left = left - bound(math.min, other, from, upto) end
    end
    return math.max(0, left)
  end
  local function free(from, upto)
    local left = PARTS - unclaimed(from, upto)
    for _, other in pairs(others) do left = left - bound(math.max, other, from, upto) end
    return left
  end
  local first = math.min(ask.tallies[1].minute, peer.changes - 1)
  peer.part = math.max(peer.part, math.min(even, free(first, peer.changes - 1)))
  local reply_part, reply_next = peer.part, math.max(0, math.min(even, free(peer.changes)))
  peer.next = math.max(peer.next, reply_next)
  if state.peers[me] or count <= MOST_PEERS then state.peers[me] = peer end

  local newest = ask.version == state.version
  local sharing = ask.commits and now >= state.born + FORGOT and state.peers[me] ~= nil
  for _, tally in ipairs(ask.tallies) do
    if tally.minute <= first_minute then sharing = false end
  end

  -- What each minute holds, and what is kept in it for when the ledger is lost.
  local sums = {}
  for i, tally in ipairs(ask.tallies) do
    local minute = state.minutes[string.format('%d', tally.minute)]
    local sum = {minute = tally.minute, lanes = {0, 0, 0}, total = 0, done = 0, kept = 0, extra = minute.extra}
    for _, row in pairs(minute.rows) do
      for lane = 1, 3 do sum.lanes[lane] = sum.lanes[lane] + row.lanes[lane] end
      sum.total, sum.done = sum.total + spent(row), sum.done + row.done
    end
    for name, other in pairs(state.peers) do
      local row = minute.rows[name] or {lanes = {0, 0, 0}, heard = 0}
      local part, may = part_in(other, tally.minute), 0
      if name == me and sharing then
        may = spent(row) + math.ceil(ration(part, ask.allowed, tally.minute, now))
      elseif row.heard > 0 and row.modest then
        may = row.base
      elseif row.heard > 0 then
        may = row.base + math.ceil(ration(part, ask.allowed, tally.minute, math.min(now, row.heard + FROZEN)))
      else
        may = math.floor(part * ask.allowed / WHOLE)
      end
      sum.kept = sum.kept + math.max(0, may - spent(row))
      if name == me then sum.mine = math.max(0, may - spent(row)) end
    end
    sum.kept = sum.kept + math.floor(unclaimed(tally.minute, tally.minute) * ask.allowed / WHOLE)
    sums[i] = sum
  end

  -- One that comes back having spent alone may find no room for a new ration: it must agree to have none.
  local crowded, agreed = false, ask.modest
  for i, sum in ipairs(sums) do
    crowded = crowded or (sharing and sum.total + sum.kept > ask.allowed)
    agreed = agreed or rows[i].modest
  end
  if crowded then
    for _, sum in ipairs(sums) do
      sum.kept = sum.kept - sum.mine
      if sum.total + sum.kept > ask.allowed then agreed = false end
    end
    sharing = agreed
  end

  local function verdict(weight, rank)
    local worst = 0
    local floor, newcomers = math.floor(ask.allowed * FLOOR), 0
    if #ask.tallies < 3 then newcomers = math.floor((WHOLE - PARTS) * ask.allowed / WHOLE) end
    for _, sum in ipairs(sums) do
      local after = sum.total + weight
      local left = math.min(MINUTE, math.max(0, (sum.minute + 1) * MINUTE - now))
      local due, lanes = math.ceil(floor * left / MINUTE), 0
      for lane = 1, 3 do
        if lane ~= rank + 1 then lanes = lanes + math.max(0, math.min(due, floor - sum.lanes[lane])) end
      end
      if after > ask.allowed or after + sum.extra > ask.address_cap then
        worst = 2
      elseif after + newcomers + math.max(sum.kept, lanes) > ask.allowed then
        worst = math.max(worst, 1)
      end
    end
    return worst
  end

  local verdicts = {}
  for i, claim in ipairs(ask.claims) do
    local said = (sharing and newest) and verdict(claim[1], claim[2]) or 1
    if said == 0 then
      for at, sum in ipairs(sums) do
        rows[at].lanes[claim[2] + 1] = rows[at].lanes[claim[2] + 1] + claim[1]
        sum.lanes[claim[2] + 1] = sum.lanes[claim[2] + 1] + claim[1]
        sum.total = sum.total + claim[1]
      end
    end
    verdicts[i] = said
  end

  -- The gate: only who has the newest may write it, and as part of a claim only if that is granted, or the caller's own
  -- part decides. A new ledger is quiet until all have told it what they know of the gate.
  local own_ms, quiet_ms = server_ms(), state.quiet or 0
  local quiet = own_ms < quiet_ms and own_ms >= quiet_ms - QUIET
  local written = newest and ask.gate ~= nil and not (quiet and ask.patient and #ask.claims > 0)
  for _, said in ipairs(verdicts) do written = written and (said == 0 or not sharing) end
  if written then state.gate, state.version = ask.gate, state.version + 1 end

  if sharing then
    for _, row in ipairs(rows) do row.heard, row.base, row.modest = math.max(row.heard, now), spent(row), crowded end
  end

  redis.call('SET', KEYS[1], cmsgpack.pack(state), 'PX', ARGV[4])
  local told = {}
  for i, sum in ipairs(sums) do
    local before, minute = {0, 0, 0}, state.minutes[string.format('%d', sum.minute)]
    for _, name in ipairs(ask.instead) do
      local row = minute.rows[name]
      for lane = 1, 3 do before[lane] = before[lane] + (row and row.lanes[lane] or 0) end
    end
    told[i] = {
      minute = sum.minute, total = sum.total, done = sum.done, own = spent(rows[i]), heard = rows[i].heard,
      before = before,
    }
  end
  local answer = {
    sharing = sharing, verdicts = verdicts, part = reply_part, next_part = reply_next,
    peers = count + phantoms, told = told, version = state.version, written = written,
    crowded = crowded, quiet = quiet, limit = state.limit, time = time, error = math.max(0, state.error),
  }
  if not newest then answer.gate = state.gate end
  return cjson.encode(answer)
end

-- What looks like ours and is not makes the step fail before it writes: it is done again without it.
local run = server()
local step = ask and serve or goodbye
local known, state = pcall(read, run, ask and ask.error_ms <= SURE)
if known then
  local done, answer = pcall(step, state)
  if done then return answer end
end
return step(fresh(run))
