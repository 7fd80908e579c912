-- A copy that is newer than the asker's, and a lease to read a newer one, in one step.
-- KEYS  copy, lease, waiting
-- ARGV  1 as-of held (ms)  2 floor (ms)  3 token of the lease ('' for none)  4 its rank  5 its life (ms)
--       6 '' where it is not to be taken, but only looked at
-- Returns  copy ('' where it is not newer), hold, error
-- A copy begins with its as-of. What is of another type, and a lease that is no lease or has no end, is nobody's.
local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then
    redis.call('DEL', key)
    return false
  end
  return value
end

local function lease()
  local value = get(KEYS[2])
  local left = redis.call('PTTL', KEYS[2])
  local ours = value and (string.match(value, '^!') or string.match(value, '^%d+ %x+$'))
  return ours and left >= 0 and left <= tonumber(ARGV[5]) and value
end

local as_of, copy = -1, ''
local head = redis.pcall('GETRANGE', KEYS[1], 0, 7)
if type(head) == 'table' then
  redis.call('DEL', KEYS[1])
elseif #head == 8 then
  as_of = struct.unpack('>d', head)
  if as_of > tonumber(ARGV[1]) then
    copy = redis.call('GET', KEYS[1])
  end
end

local hold, failure = 'nobody', ''
if ARGV[3] ~= '' and not (as_of >= tonumber(ARGV[2])) then
  local mine = ARGV[4] .. ' ' .. ARGV[3]
  local held = lease()
  if held and string.sub(held, 1, 1) == '!' then
    hold, failure = 'failed', string.sub(held, 2)
  elseif held and held ~= mine and tonumber(string.match(held, '^(%d+) ')) <= tonumber(ARGV[4]) then
    hold = 'theirs'
    redis.pcall('SET', KEYS[3], '1', 'PX', ARGV[5])
  elseif ARGV[6] ~= '' then
    local set = redis.pcall('SET', KEYS[2], mine, 'PX', ARGV[5])
    if not set.err then
      hold = 'mine'
    end
  end
end
return {copy, hold, failure}
