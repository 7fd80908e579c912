-- Prolong a lease, if it is still the caller's.
-- KEYS  lease   ARGV  its value, its life (ms)   Returns  whether it is still ours
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
