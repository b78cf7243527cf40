-- The pace of one key in Redis: `pace.py` in Lua, by the server's clock.
--
-- KEYS[1]  "{prefix}"
-- ARGV[1]  "pace"; ARGV[2]  what it is about, as JSON
--
-- {prefix}:pace:<key>  the state, as MessagePack; forgotten after `kept` seconds without a call

local name = KEYS[1] .. ':pace:'
local SCOUT_S, LOOK_S, LONGEST_STOP_S, BACK_S = 2, 0.1, 3600, 1

-- Places in a state.
local AT, KNOWN, SCOUT, STOP, STOPPED, LEFT = 1, 2, 3, 4, 5, 6
local ARRIVAL, INTERVAL, BURST, SLOW, SLOW_UNTIL = 0, 1, 2, 3, 4
local PLACES = {7, 12, 17, 22}
local REQUESTS, SIZE = PLACES[1], 26

local function server_time()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function new_state()
  local state = {}
  for i = 1, SIZE do
    state[i] = 0
  end
  return state
end

local function shift_times(state, by)
  for _, place in ipairs({SCOUT, STOP, STOPPED, LEFT}) do
    state[place] = state[place] + by
  end
  for _, place in ipairs(PLACES) do
    state[place + ARRIVAL] = state[place + ARRIVAL] + by
    state[place + SLOW_UNTIL] = state[place + SLOW_UNTIL] + by
  end
end

local function load(key, now, kept)
  local packed = redis.call('GET', name .. key)
  local state = packed and cmsgpack.unpack(packed)
  if not state or now - state[AT] > kept then
    state = new_state()
  elseif now < state[AT] - BACK_S then
    shift_times(state, now - state[AT])
  end
  state[AT] = now
  return state
end

local function interval_of(state, place, now)
  if now < state[place + SLOW_UNTIL] then
    return state[place + SLOW]
  end
  return state[place + INTERVAL]
end

local move = {}

function move.ask(state, ask, now)
  local stop = state[STOP]
  local apart = state[LEFT] + state[REQUESTS + INTERVAL] - state[REQUESTS + BURST]
  if ask.waited and now >= stop then
    if now < apart then
      return math.min(apart - now, ask.patience), 1
    end
    state[LEFT] = now
    return 0, 1
  end
  if state[KNOWN] == 0 then
    if now >= math.max(state[SCOUT], stop) then
      state[SCOUT], state[LEFT] = now + SCOUT_S, now
      return 0, 1
    end
    return math.min(stop > now and stop - now or LOOK_S, ask.patience), 0
  end
  local start = math.max(now, stop, apart)
  for i, place in ipairs(PLACES) do
    if ask.costs[i] > 0 and state[place + INTERVAL] > 0 then
      start = math.max(start, state[place] - state[place + BURST])
    end
  end
  if start - now > ask.patience then
    return ask.patience, 0
  end
  for i, place in ipairs(PLACES) do
    local interval = interval_of(state, place, now)
    if state[place + INTERVAL] > 0 then
      state[place] = math.max(state[place], start) + ask.costs[i] * interval
    end
  end
  if start == now then
    state[LEFT] = now
  end
  return start - now, 1
end

function move.told(state, told, now)
  local sent = now - told.ago
  if sent >= state[STOPPED] then
    if told.served then
      state[STOP] = 0
    end
    if told.served or told.stop == 0 then
      state[KNOWN] = 1
    end
  end
  for i, place in ipairs(PLACES) do
    local rate = told.rates[i]
    if rate and rate ~= cjson.null then
      state[KNOWN] = 1
      if state[place + INTERVAL] == 0 then
        state[place] = now + rate[1]
        state[LEFT] = now
      end
      state[place + INTERVAL], state[place + BURST], state[place + SLOW] = rate[1], rate[2], rate[3]
      state[place + SLOW_UNTIL] = now + rate[4]
    end
  end
  if told.stop > 0 then
    state[STOP] = math.max(state[STOP], now + math.min(told.stop, LONGEST_STOP_S))
    state[STOPPED] = now
    if state[REQUESTS + INTERVAL] == 0 then
      state[KNOWN] = 0
    end
  end
  return 0, 0
end

function move.back(state, back, now)
  state[SCOUT] = 0
  for i, place in ipairs(PLACES) do
    state[place] = state[place] - back.costs[i] * interval_of(state, place, now)
  end
  return 0, 0
end

local asked = cjson.decode(ARGV[2])
local now = asked.now ~= cjson.null and asked.now or server_time()
local state = load(asked.key, now, asked.kept)
local wait, taken = move[asked.move](state, asked, now)
redis.call('SET', name .. asked.key, cmsgpack.pack(state), 'PX', asked.kept * 1000)
return {string.format('%.17g', wait), taken}
