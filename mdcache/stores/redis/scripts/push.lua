-- Store the result of a read, unless the series has changed in the store since the caller saw it.
-- KEYS  header, tail, lease, waiting, then base and appended of each block
-- ARGV  1 epoch seen ('' if there was nothing)  2 an epoch to begin with  3 lease's value ('' for none)
--       4 channel  5 message  6 life of the tail (ms)  7 life of rows (ms)
--       8 tail ('' for none)  9 tail's stamp seen  10 empty ranges ('' for none)  11 its stamp seen
--       then of each block: index, stamp seen, '1' if rows in it were revised, version's beginning (16 bytes), version's
--       rest, base ('=' to keep the one that is there), appended ('' for none)
-- Returns  'moved', or 'pushed', the epoch, revisions, purge
local function stamp_of(value)
  return value and string.sub(value, 1, 8) or ''
end

-- Delete versions of rows that expired, every half of a row's life; the blocks' keys are of the head's own hash tag.
local function drop_versions_without_rows(last)
  local now = tonumber(redis.call('TIME')[1])
  if last and math.abs(now - last) < tonumber(ARGV[7]) / 2000 then
    return
  end
  local tag = string.sub(KEYS[1], 1, -2)
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    local index = string.match(field, '^k(%d+)$')
    if index and redis.call('EXISTS', tag .. 'b' .. index) == 0 then
      redis.call('HDEL', KEYS[1], field)
    end
  end
  redis.call('HSET', KEYS[1], 'g', now)
end

local head = redis.pcall('HMGET', KEYS[1], 'e', 'r', 'p', 'b', 'g')
if head.err or not string.match(head[2] or '0', '^%d+$') or #(head[2] or '') > 15 then -- not ours
  redis.call('DEL', KEYS[1])
  head = {false, false, false, false, false}
end
if (head[1] or '') ~= ARGV[1] then
  return {'moved'}
end
if ARGV[8] ~= '' then
  local tail = redis.pcall('GET', KEYS[2])
  if type(tail) == 'table' then
    redis.call('DEL', KEYS[2])
    tail = false
  end
  if stamp_of(tail) ~= ARGV[9] then
    if tail and #tail >= 16 then
      return {'moved'}
    elseif tail then
      redis.call('DEL', KEYS[2])
    end
  end
end
if ARGV[10] ~= '' and stamp_of(head[4]) ~= ARGV[11] then
  return {'moved'}
end
local versions = {}
local count = (#KEYS - 4) / 2
for n = 0, count - 1 do
  local at = 12 + 7 * n
  local version = redis.call('HGET', KEYS[1], 'k' .. ARGV[at])
  if stamp_of(version) ~= ARGV[at + 1] or (ARGV[at + 5] == '=' and redis.call('EXISTS', KEYS[5 + 2 * n]) == 0) then
    return {'moved'}
  end
  versions[n] = version
end

local epoch, revisions = head[1] or ARGV[2], tonumber(head[2] or '0')
redis.call('HSET', KEYS[1], 'e', epoch) -- the first write: if Redis is full, it refuses this one, and so none is done
for n = 0, count - 1 do
  local at = 12 + 7 * n
  local revision = struct.pack('>d', 0)
  if versions[n] and #versions[n] >= 24 then
    revision = string.sub(versions[n], 17, 24)
  end
  if ARGV[at + 2] == '1' then
    revisions = revisions + 1
    revision = struct.pack('>d', revisions)
    redis.call('HSET', KEYS[1], 'r', string.format('%.0f', revisions))
  end
  if ARGV[at + 5] ~= '=' then
    redis.call('SET', KEYS[5 + 2 * n], ARGV[at + 5], 'PX', ARGV[7])
  else
    redis.call('PEXPIRE', KEYS[5 + 2 * n], ARGV[7])
  end
  if ARGV[at + 6] ~= '' then
    redis.call('SET', KEYS[6 + 2 * n], ARGV[at + 6], 'PX', ARGV[7])
  else
    redis.call('DEL', KEYS[6 + 2 * n])
  end
  redis.call('HSET', KEYS[1], 'k' .. ARGV[at], ARGV[at + 3] .. revision .. ARGV[at + 4])
end
if ARGV[10] ~= '' then
  redis.call('HSET', KEYS[1], 'b', ARGV[10])
end
drop_versions_without_rows(tonumber(head[5] or ''))
redis.call('PEXPIRE', KEYS[1], ARGV[7])
if ARGV[8] ~= '' then
  redis.call('SET', KEYS[2], ARGV[8], 'PX', ARGV[6])
end
if ARGV[3] ~= '' and redis.pcall('GET', KEYS[3]) == ARGV[3] then
  redis.call('DEL', KEYS[3])
end
if redis.call('DEL', KEYS[4]) == 1 then
  redis.call('PUBLISH', ARGV[4], ARGV[5])
end
return {'pushed', epoch, tostring(revisions), head[3] or ''}
