-- Count a connect to streams that an address makes; return how long to wait before asking again (ms), 0 if it may begin.
-- The key holds when the address would have used all that it regains, one connect at a time.
-- KEYS  the key   ARGV  how long one connect takes to be regained (ms), how many may be used at once
local time, every = redis.call('TIME'), tonumber(ARGV[1])
local now, room = time[1] * 1000 + math.floor(time[2] / 1000), every * (ARGV[2] - 1)
local used = math.min(tonumber(redis.call('GET', KEYS[1]) or now) or now, now + every * 60) -- a clock may have stepped
if used - now > room then
  return used - now - room
end
used = math.max(used, now) + every
redis.call('SET', KEYS[1], string.format('%d', used), 'PX', used - now)
return 0
