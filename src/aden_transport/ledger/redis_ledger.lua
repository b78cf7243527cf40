-- The ledger in Redis: each operation is one run of this script, which nothing else interleaves.
--
-- KEYS[1]  "{prefix}": all keys begin with it, so a cluster keeps them in one slot
-- ARGV[1]  the operation; ARGV[2]  what it is about, as JSON
--
-- {prefix}:sums:<key>    hash  s spent, h held, e expected, x when it may be forgotten (ms; 0 never)
-- {prefix}:marks:<key>   hash  mark → who set it; x as above
-- {prefix}:holds         hash  op_id → hold, as MessagePack
-- {prefix}:due           zset  op_id by the second its hold expires
-- {prefix}:refs          hash  the vendor's id of deferred work → op_id
-- {prefix}:owned:<host>  hash  op_id → the process that has to settle it
-- {prefix}:disputed      hash  key → nano-dollars
-- {prefix}:events        hash  event id → what was held, the candidate's index, the intent: of swept holds
-- {prefix}:dropped       how many of these found no room
--
-- Numbers are doubles: exact up to 2^53, which the caller keeps to. What is written is written as digits,
-- since a double turned to text by itself is rounded to 14 of them.

local base = KEYS[1] .. ':'
local HOLDS, DUE = base .. 'holds', base .. 'due'
local REFS, DISPUTED = base .. 'refs', base .. 'disputed'
local EVENTS, DROPPED = base .. 'events', base .. 'dropped'
local MOST_EVENTS = 50000

local NEVER = -1
local HOUR = 3600 * 1000
local HELD, THROTTLED, REFUSED = 0, 1, 2

-- A line as it arrives.
local KEY, HOLD, EXPECTED, LIMIT_HELD, LIMIT_EXPECTED = 1, 2, 3, 4, 5
local DEGRADE_AT, THROTTLE_AT, UNIT, EXPIRES, ALSO = 6, 7, 8, 9, 10

-- Totals of a line.
local T_SPENT, T_HELD, T_EXPECTED = 1, 2, 3

local function sums_at(key)
  return base .. 'sums:' .. key
end

local function marks_at(key)
  return base .. 'marks:' .. key
end

local function digits(number)
  return string.format('%.0f', number)
end

local function owned_at(host)
  return base .. 'owned:' .. host
end

-- Of two times in ms, the later; 0 is never.
local function later(one, other)
  if one == 0 or other == 0 then
    return 0
  end
  return math.max(one, other)
end

-- Let a key go after a time, unless it is already to be kept for longer.
--
-- The time is the caller's, and so is `now`: the server counts down what lies between, whatever its own clock
-- says, and an hour more.
local function keep(name, expires, now)
  local kept = tonumber(redis.call('HGET', name, 'x') or nil)
  if kept and later(kept, expires) == kept then
    return
  end
  redis.call('HSET', name, 'x', digits(expires))
  if expires == 0 then
    redis.call('PERSIST', name)
  else
    redis.call('PEXPIRE', name, digits(math.max(expires - now, 0) + HOUR))
  end
end

-- Never below nothing: a server that evicts may have lost the sums of an open hold.
local function take(sums, field, amount)
  -- "-0" is no integer to the server.
  if amount > 0 and redis.call('HINCRBY', sums, field, digits(-amount)) < 0 then
    redis.call('HSET', sums, field, '0')
  end
end

---------------------------------------------------------------------------------------------------- the rule

local function add_sums(totals, key)
  local sums = redis.call('HMGET', sums_at(key), 's', 'h', 'e')
  for i = 1, 3 do
    totals[i] = totals[i] + tonumber(sums[i] or 0)
  end
end

local function totals_of(line)
  local totals = {0, 0, 0}
  add_sums(totals, line[KEY])
  for _, key in ipairs(line[ALSO]) do
    add_sums(totals, key)
  end
  return totals
end

local function probable(line, totals)
  return totals[T_SPENT] + totals[T_EXPECTED] + line[EXPECTED]
end

local function over(sum, limit)
  return limit ~= NEVER and sum > limit
end

local function at(sum, bound)
  return bound ~= NEVER and sum >= bound
end

local function degrades(line, totals)
  return at(probable(line, totals), line[DEGRADE_AT])
end

local function throttles(line, totals)
  return at(probable(line, totals), line[THROTTLE_AT])
end

local function exceeds(line, totals)
  return over(totals[T_SPENT] + totals[T_HELD] + line[HOLD], line[LIMIT_HELD])
    or over(probable(line, totals), line[LIMIT_EXPECTED])
end

-- Whether it would not fit though all open holds came down to what is expected, or to nothing.
local function exceeds_anyway(line, totals)
  local likely = probable(line, totals)
  return over(math.max(likely, totals[T_SPENT] + line[HOLD]), line[LIMIT_HELD])
    or over(likely, line[LIMIT_EXPECTED])
end

-- The place of the first line of which the test is true, counted from 0; else nil.
local function first(lines, totals, test)
  for i, line in ipairs(lines) do
    if test(line, totals[i]) then
      return i - 1
    end
  end
  return nil
end

-- kind, candidate, line, whether only holds stand in the way, then the totals of each line.
local function outcome(kind, candidate, line, waitable, totals)
  local reply = {kind, candidate, line, waitable and 1 or 0}
  for _, sums in ipairs(totals) do
    for i = 1, 3 do
      reply[#reply + 1] = sums[i]
    end
  end
  return reply
end

local function choose(candidates)
  for place, lines in ipairs(candidates) do
    local last = place == #candidates
    local totals = {}
    for i, line in ipairs(lines) do
      totals[i] = totals_of(line)
    end
    local misfit = first(lines, totals, exceeds)
    if misfit and last then
      local waitable = not first(lines, totals, exceeds_anyway)
      return outcome(REFUSED, place - 1, misfit, waitable, totals)
    end
    if not misfit and (last or not first(lines, totals, degrades)) then
      local wait = first(lines, totals, throttles)
      return outcome(wait and THROTTLED or HELD, place - 1, wait or NEVER, false, totals)
    end
  end
end

-------------------------------------------------------------------------------------------------------- holds

local function load(op_id)
  local packed = redis.call('HGET', HOLDS, op_id)
  return packed and cmsgpack.unpack(packed)
end

local function save(op_id, hold)
  redis.call('HSET', HOLDS, op_id, cmsgpack.pack(hold))
end

local function unlink(op_id, hold)
  redis.call('HDEL', HOLDS, op_id)
  redis.call('ZREM', DUE, op_id)
  redis.call('HDEL', owned_at(hold.host), op_id)
  if hold.ref then
    redis.call('HDEL', REFS, hold.ref)
  end
end

-- Leave the intent of a hold that nobody ended, for whoever takes it.
local function leave(hold)
  if redis.call('HLEN', EVENTS) >= MOST_EVENTS then
    redis.call('INCR', DROPPED)
    return
  end
  local most = -1
  for _, line in ipairs(hold.lines) do
    if line.unit == 'usd' then
      most = math.max(most, line.hold)
    end
  end
  local told = digits(most) .. ' ' .. digits(hold.reply[2]) .. ' ' .. hold.intent
  redis.call('HSET', EVENTS, hold.event_id, told)
end

-- End a hold. `amounts` by unit become spending, and the hold itself where a unit is not among them;
-- without `amounts` it is given back. True if it was there.
--
-- Deletes first: a server that is full refuses to grow, but not a script that has already written.
local function finish(op_id, amounts, disputed)
  local hold = load(op_id)
  if not hold then
    redis.call('ZREM', DUE, op_id)
    return false
  end
  unlink(op_id, hold)
  for _, line in ipairs(hold.lines) do
    local sums = sums_at(line.key)
    take(sums, 'h', line.hold)
    take(sums, 'e', line.expected)
    if amounts then
      redis.call('HINCRBY', sums, 's', digits(amounts[line.unit] or line.hold))
    end
    if disputed and line.unit == 'usd' and line.hold > 0 then
      redis.call('HINCRBY', DISPUTED, line.key, digits(line.hold))
    end
    keep(sums, line.expires, hold.now)
  end
  if disputed and hold.intent then
    leave(hold)
  end
  return true
end

local function disputes()
  local kept = {}
  local all = redis.call('HGETALL', DISPUTED)
  for i = 1, #all, 2 do
    if redis.call('EXISTS', sums_at(all[i])) == 1 then
      kept[#kept + 1] = all[i]
      kept[#kept + 1] = all[i + 1]
    else
      redis.call('HDEL', DISPUTED, all[i])
    end
  end
  return kept
end

--------------------------------------------------------------------------------------------------- operations

local run = {}

function run.reserve(ask)
  local open = load(ask.op_id)
  if open then
    return open.reply
  end
  local reply = choose(ask.candidates)
  if reply[1] ~= HELD then
    return reply
  end
  local hold = {reply = reply, host = ask.host, now = ask.now, lines = {}}
  hold.event_id, hold.intent = ask.event_id, ask.intent
  for i, line in ipairs(ask.candidates[reply[2] + 1]) do
    local expires = later(line[EXPIRES], ask.kept)
    hold.lines[i] = {
      key = line[KEY], hold = line[HOLD], expected = line[EXPECTED], unit = line[UNIT], expires = expires,
    }
  end
  save(ask.op_id, hold)
  redis.call('ZADD', DUE, ask.due, ask.op_id)
  redis.call('HSET', owned_at(ask.host), ask.op_id, ask.owner)
  for _, line in ipairs(hold.lines) do
    local sums = sums_at(line.key)
    redis.call('HINCRBY', sums, 'h', digits(line.hold))
    redis.call('HINCRBY', sums, 'e', digits(line.expected))
    keep(sums, line.expires, ask.now)
  end
  return reply
end

function run.settle(ask)
  return finish(ask.op_id, ask.amounts) and 1 or 0
end

function run.release(ask)
  return finish(ask.op_id) and 1 or 0
end

-- From now on nobody owns it: the work goes on though the process that asked for it may end.
function run.defer(ask)
  local hold = load(ask.op_id)
  local taken = redis.call('HGET', REFS, ask.ref)
  if not hold or (taken and taken ~= ask.op_id) then
    return 0
  end
  unlink(ask.op_id, hold)
  hold.ref, hold.intent = ask.ref, nil
  for _, line in ipairs(hold.lines) do
    line.expires = later(line.expires, ask.kept)
    keep(sums_at(line.key), line.expires, ask.now)
  end
  save(ask.op_id, hold)
  redis.call('ZADD', DUE, ask.due, ask.op_id)
  redis.call('HSET', REFS, ask.ref, ask.op_id)
  return 1
end

function run.settle_deferred(ask)
  local op_id = redis.call('HGET', REFS, ask.ref)
  return op_id and finish(op_id, ask.amounts) and 1 or 0
end

-- True for the first `token`: a caller repeats its own after a lost answer.
local function mark(ask)
  local marks, field = marks_at(ask.key), 'm:' .. ask.mark
  local taken = redis.call('HGET', marks, field)
  if taken then
    return taken == ask.token
  end
  redis.call('HSET', marks, field, ask.token)
  keep(marks, ask.kept, ask.now)
  return true
end

function run.mark_once(ask)
  return mark(ask) and 1 or 0
end

function run.raise_to(ask)
  local sums = sums_at(ask.key)
  if mark(ask) and tonumber(redis.call('HGET', sums, 's') or 0) < ask.spent then
    redis.call('HSET', sums, 's', digits(ask.spent))
    keep(sums, ask.kept, ask.now)
  end
  return 1
end

function run.totals(ask)
  local reply = {}
  for _, line in ipairs(ask.lines) do
    for _, sum in ipairs(totals_of(line)) do
      reply[#reply + 1] = sum
    end
  end
  return reply
end

-- The processes of a host that own holds.
function run.owners(ask)
  local seen, owners = {}, {}
  for _, owner in ipairs(redis.call('HVALS', owned_at(ask.host))) do
    if not seen[owner] then
      seen[owner] = true
      owners[#owners + 1] = owner
    end
  end
  return owners
end

-- At most `most` ids of holds that expired or whose owner is among `dead`.
local function abandoned(ask)
  local ids = redis.call('ZRANGEBYSCORE', DUE, '-inf', ask.now, 'LIMIT', 0, ask.most)
  if #ask.dead == 0 then
    return ids
  end
  local dead = {}
  for _, owner in ipairs(ask.dead) do
    dead[owner] = true
  end
  local owned = redis.call('HGETALL', owned_at(ask.host))
  for i = 1, #owned, 2 do
    if #ids >= ask.most then
      break
    end
    if dead[owned[i + 1]] then
      ids[#ids + 1] = owned[i]
    end
  end
  return ids
end

-- Whether there may be more, then the ids that were settled.
function run.sweep(ask)
  local ids = abandoned(ask)
  local reply = {#ids >= ask.most and 1 or 0}
  for _, op_id in ipairs(ids) do
    if finish(op_id, {}, true) then
      reply[#reply + 1] = op_id
    end
  end
  if #reply > 1 then
    disputes()
  end
  return reply
end

-- Id and text of at most so many events that sweeps left.
function run.take_events(ask)
  local reply, cursor = {}, '0'
  repeat
    local found = redis.call('HSCAN', EVENTS, cursor, 'COUNT', digits(ask.most))
    cursor = found[1]
    for i = 1, math.min(#found[2], 2 * ask.most - #reply) do
      reply[#reply + 1] = found[2][i]
    end
  until cursor == '0' or #reply >= 2 * ask.most
  return reply
end

function run.forget_events(ask)
  for _, event_id in ipairs(ask.event_ids) do
    redis.call('HDEL', EVENTS, event_id)
  end
  return 1
end

function run.events_dropped()
  return tonumber(redis.call('GET', DROPPED) or 0)
end

run.disputed = disputes

function run.open_holds()
  return redis.call('HLEN', HOLDS)
end

return run[ARGV[1]](cjson.decode(ARGV[2]))
