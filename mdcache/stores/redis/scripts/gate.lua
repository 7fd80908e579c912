-- Write a family's gate, if its version is still the caller's; otherwise return what others wrote.
-- KEYS: the gate, a hash. ARGV: the version that the caller knows, its text, the life of the key in milliseconds, the
-- channel, and the start of the message there.

local QUIET = 1100 -- ms: while a gate is this new, no replica sends; by then all have reported what they know of it

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.pcall('HMGET', KEYS[1], 'version', 'text', 'quiet_ms')
local version, quiet_ms = not found.err and tonumber(found[1] or '') or 0, not found.err and tonumber(found[3] or '') or 0
if version == 0 then redis.call('DEL', KEYS[1]) end
if version ~= tonumber(ARGV[1]) then
  local quiet = version == 0 or (now < quiet_ms and now >= quiet_ms - QUIET)
  return {0, version, quiet and 1 or 0, version ~= 0 and found[2] or ''}
end
if version == 0 then quiet_ms = now + QUIET end
version = math.max(version + 1, now)
redis.call('HSET', KEYS[1], 'version', string.format('%.0f', version), 'text', ARGV[2], 'quiet_ms', string.format('%.0f', quiet_ms))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5] .. string.format('%.0f', version) .. ' ' .. ARGV[2])
return {1, version, now < quiet_ms and now >= quiet_ms - QUIET and 1 or 0, ''}
