-- Return what is stored of one series and new to the caller, and a lease to read it, in one step.
-- KEYS  header, tail, lease, waiting, then base and appended of each block asked for
-- ARGV  1 epoch seen  2 revisions seen  3 tail's stamp seen  4 floor (ms, '' if no tail is enough)  5 now (ms)
--       6 token of the lease ('' for none)  7 its rank  8 its life (ms)  9 life of rows (ms)
--       10 '' if it is not to be taken, but only looked at
--       then of each block: index, stamp seen, base's stamp seen
-- Returns  epoch, revisions, purge, tail ('=' where it was seen), empty ranges, hold, error, indexes of revised blocks,
--          and of each block: version ('' for none, '=' where it was seen), base ('=' where it was seen), appended
local function freshen(key)
  local life = tonumber(ARGV[9])
  local left = redis.call('PTTL', key)
  if left >= -1 and left < life / 2 then
    redis.call('PEXPIRE', key, life)
  end
end

local head = redis.pcall('HMGET', KEYS[1], 'e', 'r', 'p', 'b')
if head.err or not string.match(head[2] or '0', '^%d+$') or #(head[2] or '') > 15 then -- not ours
  redis.call('DEL', KEYS[1])
  head = {false, false, false, false}
end
local epoch, revisions = head[1] or '', tonumber(head[2] or '0')
if epoch ~= '' then
  freshen(KEYS[1])
end

local known = 0
if epoch == ARGV[1] then
  known = tonumber(ARGV[2])
end
local revised = {}
if revisions > known then
  local all = redis.call('HGETALL', KEYS[1])
  for n = 1, #all, 2 do
    local index, version = string.match(all[n], '^k(%d+)$'), all[n + 1]
    if index and #version >= 24 and struct.unpack('>d', string.sub(version, 17, 24)) > known then
      revised[#revised + 1] = index
    end
  end
end

local blocks = {}
for n = 0, (#KEYS - 4) / 2 - 1 do
  local index, stamp, base_stamp = ARGV[11 + 3 * n], ARGV[12 + 3 * n], ARGV[13 + 3 * n]
  local base_key, appended_key = KEYS[5 + 2 * n], KEYS[6 + 2 * n]
  local version = epoch ~= '' and redis.call('HGET', KEYS[1], 'k' .. index) or ''
  local base, appended = '', ''
  if version ~= '' then
    local there = redis.call('EXISTS', base_key) == 1
    if there then
      freshen(base_key)
      freshen(appended_key)
    end
    if there and string.sub(version, 1, 8) == stamp then
      version = '='
    else
      if there and base_stamp ~= '' and string.sub(version, 9, 16) == base_stamp then
        base = '='
      else
        base = get(base_key) or ''
      end
      appended = get(appended_key) or ''
    end
  end
  blocks[#blocks + 1] = {version, base, appended}
end

local tail = get(KEYS[2]) or ''
local enough = false
if #tail >= 24 and ARGV[4] ~= '' then
  local as_of, open_until = struct.unpack('>dd', string.sub(tail, 9, 24))
  enough = as_of >= tonumber(ARGV[4]) and (open_until < 0 or open_until >= tonumber(ARGV[5]))
end
if tail ~= '' and string.sub(tail, 1, 8) == ARGV[3] then
  tail = '='
end

local held, failure = 'nobody', ''
if ARGV[6] ~= '' and not enough then
  held, failure = hold(KEYS[3], KEYS[4], ARGV[7], ARGV[6], ARGV[8], ARGV[10] ~= '')
end

return {epoch, tostring(revisions), head[3] or '', tail, head[4] or '', held, failure, revised, blocks}
