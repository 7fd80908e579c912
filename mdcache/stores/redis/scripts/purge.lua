-- Delete one series and note the purge in its header: a replica that pulls next knows that what it has was purged.
-- KEYS  header, tail   ARGV  name of the purge, a new epoch, life (ms), beginning of the blocks' keys
-- The blocks' keys are of the head's own hash tag.
local head = redis.pcall('HGETALL', KEYS[1])
if head.err then
  head = {}
end
for n = 1, #head, 2 do
  if head[n] == 'p' and head[n + 1] == ARGV[1] then
    return 0
  end
end
for n = 1, #head, 2 do
  local index = string.match(head[n], '^k(%d+)$')
  if index then
    redis.call('DEL', ARGV[4] .. 'b' .. index, ARGV[4] .. 'y' .. index)
  end
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'e', ARGV[2], 'p', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
