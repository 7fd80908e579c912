-- Return a body that is newer than the caller's, and a lease to read a newer one, in one step.
-- KEYS  body, lease, waiting
-- ARGV  1 as-of held (ms)  2 floor (ms)  3 token of the lease ('' for none)  4 its rank  5 its life (ms)
--       6 '' if it is not to be taken, but only looked at
-- Returns  body ('' if it is not newer), hold, error
-- A body begins with its as-of.
local as_of, body = -1, ''
local head = redis.pcall('GETRANGE', KEYS[1], 0, 7)
if type(head) == 'table' then
  redis.call('DEL', KEYS[1])
elseif #head == 8 then
  as_of = struct.unpack('>d', head)
  if as_of > tonumber(ARGV[1]) then
    body = redis.call('GET', KEYS[1])
  end
end

local held, failure = 'nobody', ''
if ARGV[3] ~= '' and not (as_of >= tonumber(ARGV[2])) then
  held, failure = hold(KEYS[2], KEYS[3], ARGV[4], ARGV[3], ARGV[5], ARGV[6] ~= '')
end
return {body, held, failure}
