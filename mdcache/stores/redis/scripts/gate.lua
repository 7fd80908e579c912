-- Write a family's gate, if its version is still the caller's; otherwise return what others wrote.
-- KEYS: the gate, a hash. ARGV: the version that the caller knows, its text, the life of the key in milliseconds, the
-- channel, and the start of the message there.

local NEW = 1100 -- ms: while a gate is this new, no replica sends; by then all have reported what they know of it

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.pcall('HMGET', KEYS[1], 'version', 'text', 'new_until_ms')
local version, new_until_ms = not found.err and tonumber(found[1] or '') or 0, not found.err and tonumber(found[3] or '') or 0
if version == 0 then redis.call('DEL', KEYS[1]) end
if version ~= tonumber(ARGV[1]) then
  local new = version == 0 or (now < new_until_ms and now >= new_until_ms - NEW)
  return {0, version, new and 1 or 0, version ~= 0 and found[2] or '', math.max(0, now - version)}
end
if version == 0 then new_until_ms = now + NEW end
version = math.max(version + 1, now)
redis.call('HSET', KEYS[1], 'version', string.format('%.0f', version), 'text', ARGV[2], 'new_until_ms', string.format('%.0f', new_until_ms))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5] .. string.format('%.0f', version) .. ' ' .. ARGV[2])
return {1, version, now < new_until_ms and now >= new_until_ms - NEW and 1 or 0, '', 0}
