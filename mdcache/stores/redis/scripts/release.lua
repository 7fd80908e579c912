-- End a lease, and leave the error of its read for those who wait.
-- KEYS  lease, waiting   ARGV  the lease's value, error ('' for none), how long it is shared (ms), channel, message
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
  if ARGV[2] ~= '' then
    redis.call('SET', KEYS[1], '!' .. ARGV[2], 'PX', ARGV[3])
  else
    redis.call('DEL', KEYS[1])
  end
  if redis.call('DEL', KEYS[2]) == 1 then
    redis.call('PUBLISH', ARGV[4], ARGV[5])
  end
end
return 0
