-- Run each Redis command used elsewhere once, on a key of its own: if one is refused, this Redis can't be used.
-- KEYS  the key   ARGV  its life (ms)
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
redis.call('TIME')
local said = redis.pcall('LRANGE', KEYS[1], 0, 0) -- of a text: it is of the wrong type, or not allowed
if said.err and not string.find(said.err, 'WRONGTYPE', 1, true) then
  return said
end
return 1
