-- One step of a state: the server runs it whole, and nothing else meanwhile. See redis_store.py.
--
-- ARGV: what all keys begin with; the state's token, or nothing; rows of a full open run; what to do; and what that needs.
-- A place is a key of the store, or what it has many of. Times are whole microseconds below 2^53, which Lua counts exactly.
local prefix, token, open, act = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local META = prefix .. 'm' .. string.rep('\0', 16)
local FIRST = string.rep('\0', 7) .. '\128' -- -2^63
local MISSING = string.rep('\0', 6) .. '\248\127' -- NaN
local MANY = '\255'
local call = redis.call

local given = 4
local function following()
  given = given + 1
  return ARGV[given]
end
local function number()
  return tonumber(following())
end
local function packed(value)
  return struct.pack('<i8', value)
end
local function moment(text, at)
  return (struct.unpack('<i8', text, at))
end

-- What is kept of a place lies under this name; what a key has many of lies apart, so that a scan tells each key once.
local function at(place)
  return prefix .. (#place > 17 and 'o' or '') .. place
end

-- An open run is a string of its own, to which rows are appended; its part of the entity only says that it is there.
local function opened(place, part)
  return #place == 17 and #part == 3 and place:sub(1, 1) == 'e' and prefix .. 'o' .. place .. part
end
local function sealed(place, part)
  return #place == 17 and #part > 3 and place:sub(1, 1) == 'e'
end

local function get(place, part)
  if place:sub(1, 1) == 't' then
    return call('GET', at(place))
  end
  local open_run = opened(place, part)
  return open_run and call('GET', open_run) or not open_run and call('HGET', at(place), part)
end
local function put(place, part, value)
  if place:sub(1, 1) == 't' then
    call('SET', at(place), value)
    return
  end
  local open_run = opened(place, part)
  if open_run then
    call('SET', open_run, value)
  end
  call('HSET', at(place), part, open_run and '' or value)
end
local function delete(place, part)
  if place:sub(1, 1) == 't' then
    call('DEL', at(place))
    return
  end
  local open_run = opened(place, part)
  if open_run then
    call('DEL', open_run)
  end
  call('HDEL', at(place), part)
end

-- All parts of a place, by name; of sealed runs, which clients keep, the length instead of what they hold.
local function whole(place)
  local found = {}
  for _, part in ipairs(call('HKEYS', at(place))) do
    found[#found + 1] = part
    if sealed(place, part) then
      found[#found + 1] = call('HSTRLEN', at(place), part)
    else
      found[#found + 1] = get(place, part)
    end
  end
  return found
end

local function counted()
  local kept = call('HGET', META, 'number')
  if not kept then
    return 0, 0
  end
  return moment(kept, 1), moment(kept, 9)
end
local function next_number(time)
  local last, latest = counted()
  call('HSET', META, 'number', packed(last + 1) .. packed(math.max(latest, time)))
  return last + 1
end

-- Rows of so many words as rows of more: fields that came later are missing.
local function widened(rows, from, to)
  local found = {}
  for row = 1, from < to and #rows or 0, from * 8 do
    found[#found + 1] = rows:sub(row, row + from * 8 - 1) .. string.rep(MISSING, to - from)
  end
  return from < to and table.concat(found) or rows
end

local full = {} -- logs whose open run has become full, each after its place
local function append(place, log, width, rows)
  local part = log .. '\255'
  local open_run = opened(place, part)
  local head = call('GETRANGE', open_run, 0, 0)
  if head == '' then
    put(place, part, string.char(width) .. string.rep('\0', 7))
  elseif head:byte(1) < width then
    local data = call('GET', open_run)
    put(place, part, string.char(width) .. string.rep('\0', 7) .. widened(data:sub(9), data:byte(1), width))
  elseif head:byte(1) > width then
    rows = widened(rows, width, head:byte(1))
    width = head:byte(1)
  end
  local size = call('APPEND', open_run, rows) - 8
  -- Whoever fills it seals it; should it be killed before, whoever fills as many again.
  if math.floor((size - #rows) / (width * 8) / open) < math.floor(size / (width * 8) / open) then
    full[#full + 1] = place
    full[#full + 1] = log
  end
end

-- How many of the times there are up to one of them, and the bytes of one.
local function upto(times, time)
  local low, high = 0, #times / 8
  while low < high do
    local middle = math.floor((low + high) / 2)
    if time < moment(times, middle * 8 + 1) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end
local function one(times, place)
  return times:sub(place * 8 - 7, place * 8)
end

-- As `entry._occurred`, and the times with the new one.
local function occurred(place, part, time8, number8, since, log)
  local times = call('HGET', at(place .. MANY), part) or ''
  local before = upto(times, moment(time8, 1))
  local last, rows = before > 0 and one(times, before) or FIRST, ''
  if before < #times / 8 then
    local after = one(times, before + 1)
    rows = after .. number8 .. last .. packed(-1) .. after .. number8 .. time8 .. packed(1)
  end
  append(place, log, 4, rows .. time8 .. number8 .. last .. packed(1))
  times = times:sub(1, before * 8) .. time8 .. times:sub(before * 8 + 1)
  call('HSET', at(place .. MANY), part, times:sub(upto(times, since) * 8 + 1))
end

local acts = {}

function acts.add()
  local layout, key, body = following(), following(), following()
  local record, width, since = following(), number(), number()
  if call('HGET', META, 'layout') ~= layout then -- others have added to what is to be remembered
    return false
  end
  local time8 = record:sub(1, 8)
  local kept = call('GET', prefix .. key)
  local number8
  if not kept then
    number8 = packed(next_number(moment(time8, 1)))
    call('SET', prefix .. key, number8 .. body:sub(9))
  end
  local found = {}
  for _ = 1, number() do
    local place = following()
    if not kept then
      append(place, 'r\0', width, time8 .. number8 .. record:sub(17))
    end
    for _ = 1, number() do
      local field, value = following(), following()
      if not kept then
        occurred(place, MANY .. field .. value, time8, number8, since, 'd' .. field)
      end
    end
    found[#found + 1] = whole(place)
  end
  return { kept, counted(), found, full }
end

function acts.label()
  local key, fraud, known, delay, logged = following(), number(), number(), number(), number()
  local kept = call('GET', prefix .. key)
  if not kept then
    return { 0, full }
  end
  local _, time, was, labelled, bad = struct.unpack('<i8i8i8i1i1', kept)
  local from = math.max(known, time + delay)
  if labelled == 1 and (from < was or bad == fraud and was == from) then
    return { 1, full }
  end
  local number8, rows = packed(next_number(0)), ''
  if labelled == 1 then
    rows = packed(was) .. number8 .. packed(-1) .. packed(-bad)
  end
  rows = rows .. packed(from) .. number8 .. packed(1) .. packed(fraud)
  call('SET', prefix .. key, kept:sub(1, 16) .. packed(from) .. '\1' .. string.char(fraud) .. kept:sub(27))
  for own = 43, logged == 1 and #kept or 0, 16 do
    append('e' .. kept:sub(own, own + 15), 'y\0', 4, rows)
  end
  return { 1, full }
end

function acts.read()
  local wholes, parts = {}, {}
  for _ = 1, number() do
    wholes[#wholes + 1] = whole(following())
  end
  for _ = 1, number() do
    local place = following()
    parts[#parts + 1] = get(place, following())
  end
  return { wholes, parts }
end

-- An open run's first rows, and some sealed runs, become one; unless somebody did that, or removed any, before.
function acts.seal()
  local place, part, rows, name, run = following(), following(), following(), following(), following()
  local data, gone = get(place, part), {}
  for _ = 1, number() do
    gone[#gone + 1] = following()
    if call('HEXISTS', at(place), gone[#gone]) == 0 then
      return 0
    end
  end
  if not data or data:sub(1, #rows) ~= rows then
    return 0
  end
  for _, old in ipairs(gone) do
    delete(place, old)
  end
  put(place, name, run)
  if #data == #rows then
    delete(place, part)
  else
    put(place, part, data:sub(1, 8) .. data:sub(#rows + 1))
  end
  return 1
end

-- Values are written, unless what was looked at has changed: values by their digests, sealed runs by their lengths, and
-- of places that were looked at whole also the number of parts.
function acts.write()
  for _ = 1, number() do
    local place, parts = following(), number()
    if parts >= 0 and call('HLEN', at(place)) ~= parts then
      return 0
    end
    for _ = 1, number() do
      local part, seen = following(), following()
      if sealed(place, part) then
        if call('HSTRLEN', at(place), part) ~= tonumber(seen) then
          return 0
        end
      else
        local value = get(place, part)
        if (value and redis.sha1hex(value) or '') ~= seen then
          return 0
        end
      end
    end
  end
  for _ = 1, number() do
    local place, part = following(), following()
    delete(place, part)
  end
  for _ = 1, number() do
    local place, part, value = following(), following(), following()
    put(place, part, value)
  end
  return 1
end

-- Which keys have something that is not later than a moment; of an open run its first row stands for all.
function acts.stale()
  local last, found = number(), {}
  local function old(place)
    if place:sub(1, 1) == 't' then
      local data = get(place)
      return data and moment(data, 9) <= last
    end
    for _, part in ipairs(call('HKEYS', at(place))) do
      local data = get(place, part)
      local first = #place > 17 and #data - 7 or sealed(place, part) and 17 or 9
      if moment(data, first) <= last then
        return true
      end
    end
    return false
  end
  for _ = 1, number() do
    local place = following()
    if old(place) or old(place .. MANY) then
      found[#found + 1] = place
    end
  end
  return found
end

if token ~= '' and call('HGET', META, 'token') ~= token then
  return redis.error_reply('LOST the state is not the one that this process began with')
end
return acts[act]()
