-- Sends the bodies of a file in turn; @KEY@ in a body becomes a key that no other request has, and @TIME@ after it now.
-- Arguments: file of bodies, one a line; path; prefix of the keys, which has ten characters.

local requests, count, turn, prefix = {}, 0, 0, ""

function init(arguments)
  local path = arguments[2]
  prefix = arguments[3]
  for body in io.lines(arguments[1]) do
    local from, to = body:find("@KEY@", 1, true)
    local first, last = body:find("@TIME@", 1, true)
    local length = #body + (from and (20 - 5) or 0) + (first and (20 - 6) or 0) -- a key has twenty characters, as a time
    local head = "POST " .. path .. " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
      .. length .. "\r\n\r\n"
    count = count + 1
    if first then
      requests[count] = { head .. body:sub(1, from - 1), body:sub(to + 1, first - 1), body:sub(last + 1) }
    elseif from then
      requests[count] = { head .. body:sub(1, from - 1), body:sub(to + 1) }
    else
      requests[count] = { head .. body }
    end
  end
end

function request()
  turn = turn + 1
  local parts = requests[turn % count + 1]
  if parts[3] then
    local now = os.date("!%Y-%m-%dT%H:%M:%SZ")
    return parts[1] .. prefix .. string.format("%010d", turn) .. parts[2] .. now .. parts[3]
  end
  if parts[2] then
    return parts[1] .. prefix .. string.format("%010d", turn) .. parts[2]
  end
  return parts[1]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "seconds": %.6f, "failed": %d, "p50_ms": %.4f, "p99_ms": %.4f, "max_ms": %.4f}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
