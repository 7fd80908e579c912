-- The start of `pull` and `pull_body`: decide which replica may read.
-- Delete a key of another type than ours, and a lease that is malformed or never expires.
local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then
    redis.call('DEL', key)
    return false
  end
  return value
end

-- A lease, or the error of one: it expires, and has our form. Otherwise it would never end.
local function lease(key, life)
  local value = get(key)
  local left = redis.call('PTTL', key)
  if value and left >= 0 and left <= life and (string.match(value, '^%d+ %x+$') or string.sub(value, 1, 1) == '!') then
    return value
  end
  return false
end

-- Take the lease, or return its holder, or its error; without `takes` only look, and note that a replica waits.
local function hold(key, waiting, rank, token, life, takes)
  local mine = rank .. ' ' .. token
  local held = lease(key, tonumber(life))
  if held and string.sub(held, 1, 1) == '!' then
    return 'failed', string.sub(held, 2)
  elseif held and held ~= mine and tonumber(string.match(held, '^(%d+) ')) <= tonumber(rank) then
    redis.pcall('SET', waiting, '1', 'PX', life)
    return 'theirs', ''
  elseif takes and not redis.pcall('SET', key, mine, 'PX', life).err then
    return 'mine', ''
  end
  return 'nobody', ''
end

