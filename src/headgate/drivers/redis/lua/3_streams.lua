-- Streams of user code. Of each: `s:` its events, `m:` what is known of it, `pr:` its producers, `kids:` the streams
-- that began with its events. What becomes of a write is decided by the client (base.streams.judge).
-- (Only the parts that other files need are here; the operations are in 6_streams.)

local function tell_gone(name, data)
  -- Not stored: only who follows now hears it; others find that there is no such stream.
  local last = tonumber(call('HGET', P .. 'm:' .. name, 'last') or 0) + 1
  local event = '\145\149' .. pack(last) .. pack('gone') .. data .. pack(NOW) .. '\195'
  call(PUBLISH, P .. '>e:' .. name, event)
end

local forget_stream
function forget_stream(name)
  local source = call('HGET', P .. 'm:' .. name, 'source')
  call('DEL', P .. 's:' .. name, P .. 'm:' .. name, P .. 'pr:' .. name, P .. 'prt:' .. name)
  call('ZREM', P .. 'sexp', name)
  call('ZREM', P .. 'aged', name)
  if not source then return end
  call('SREM', P .. 'kids:' .. source, name)
  if call('EXISTS', P .. 'kids:' .. source) == 0 and call('HGET', P .. 'm:' .. source, 'hidden') then
    forget_stream(source)
  end
end

-- Give up what is older than the stream keeps events for.
local function age_streams(most)
  for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'aged', '-inf', NOW, 'LIMIT', 0, most)) do
    local meta, key = P .. 'm:' .. name, P .. 's:' .. name
    local seconds = tonumber(call('HGET', meta, 'age') or 0)
    local following
    while true do
      local first = call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
      if not first then break end
      following = tonumber(first[2][6]) + seconds
      if following > NOW then break end
      call('XDEL', key, first[1])
      call('HINCRBY', meta, 'size', -#first[2][4])
      call('HSET', meta, 'cut', 'the stream keeps events for ' .. seconds .. ' s')
      following = nil
    end
    if following then call('ZADD', P .. 'aged', following, name) else call('ZREM', P .. 'aged', name) end
  end
end
