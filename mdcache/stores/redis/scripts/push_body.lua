-- Store a body, unless a newer one is stored; end the lease.
-- KEYS  body, lease, waiting
-- ARGV  1 body ('' for none: it is too long)  2 its life (ms)  3 lease's value ('' for none)  4 channel  5 message
--       6 now (ms): a body with an as-of far in the future is discarded
if ARGV[1] ~= '' then
  local head = redis.pcall('GETRANGE', KEYS[1], 0, 7)
  local there = type(head) ~= 'table' and #head == 8 and struct.unpack('>d', head) or -1
  if not (there > struct.unpack('>d', string.sub(ARGV[1], 1, 8)) and there <= tonumber(ARGV[6])) then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  end
end
if ARGV[3] ~= '' and redis.pcall('GET', KEYS[2]) == ARGV[3] then
  redis.call('DEL', KEYS[2])
end
if redis.call('DEL', KEYS[3]) == 1 then
  redis.call('PUBLISH', ARGV[4], ARGV[5])
end
return 0
