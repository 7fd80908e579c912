-- Beginning of `pull` and `pull_body`: who may read.
-- A key of another type than ours is nobody's: it goes. So does a lease that is no lease, or has no end.
local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then
    redis.call('DEL', key)
    return false
  end
  return value
end

-- A lease, or the error of one: it runs out, and has our form. Else nobody would ever end it.
local function lease(key, life)
  local value = get(key)
  local left = redis.call('PTTL', key)
  if value and left >= 0 and left <= life and (string.match(value, '^%d+ %x+$') or string.sub(value, 1, 1) == '!') then
    return value
  end
  return false
end

-- Take the lease, or return who has it, or its error; without `takes` only look, and note that somebody waits.
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

