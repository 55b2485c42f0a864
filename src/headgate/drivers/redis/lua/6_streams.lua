-- The operations on streams.

-- see {name, producer or false}: {now, version, last, ended, made, state, what is known of the producer}, or {now}.
function ops.see(a)
  local now = fmt('%.6f', NOW)
  local expires = call('ZSCORE', P .. 'sexp', a[1])
  local v = call('HMGET', P .. 'm:' .. a[1], 'ver', 'last', 'ended', 'made', 'state')
  if not v[1] or (expires and tonumber(expires) <= NOW) then return {now} end
  local known = a[2] and call('HGET', P .. 'pr:' .. a[1], a[2])
  return {now, v[1], v[2], v[3], v[4], v[5], known}
end

-- The bytes of a msgpack binary, or nil for anything else (cmsgpack does not know them).
local function binary(raw)
  local head = {['\196'] = 2, ['\197'] = 3, ['\198'] = 5}
  local skip = head[string.sub(raw, 1, 1)]
  return skip and string.sub(raw, skip + 1)
end

local function fresh(name, state, expires)
  forget_stream(name)  -- one whose time is over, and that upkeep has not found yet
  local made = call('INCR', P .. 'seq')
  call('HSET', P .. 'm:' .. name, 'ver', 1, 'last', 0, 'ended', 0, 'made', made, 'state', state, 'size', 0)
  call('ZADD', P .. 'sexp', expires, name)
  return made
end

-- Whether the stream is as it was seen; 0: it was not there.
local function is_as_seen(name, version)
  local expires = call('ZSCORE', P .. 'sexp', name)
  local there = tonumber(call('HGET', P .. 'm:' .. name, 'ver') or 0)
  if expires and tonumber(expires) <= NOW then there = 0 end
  return there == version
end

local function remember(name, producer, known, most)
  call('HSET', P .. 'pr:' .. name, producer, known)
  call('ZADD', P .. 'prt:' .. name, NOW, producer)
  while call('ZCARD', P .. 'prt:' .. name) > most do
    call('HDEL', P .. 'pr:' .. name, call('ZPOPMIN', P .. 'prt:' .. name)[1])
  end
end

-- Append to a stream that is there; arguments as those of `write`. Returns the last offset.
local function append_to(name, a)
  local meta, key, events, size = P .. 'm:' .. name, P .. 's:' .. name, {}, 0
  for i = 1, #a[4], 3 do
    events[#events + 1] = {a[4][i], a[4][i + 1], a[4][i + 2]}
    size = size + #a[4][i + 1]
  end
  local last = write(key, name, tonumber(call('HGET', meta, 'last')), events)
  call('HSET', meta, 'last', last, 'ended', a[5] and 1 or 0, 'state', a[3])
  call('HINCRBY', meta, 'ver', 1)
  call('ZADD', P .. 'sexp', a[6], name)
  if a[8] then remember(name, a[8], a[9], a[10]) end
  keep_within(key, meta, last, #events, size, a[7][1], a[7][2])
  if a[7][3] > 0 then
    call('HSET', meta, 'age', a[7][3])
    call('ZADD', P .. 'aged', 'NX', NOW + a[7][3], name)
  end
  return last
end

-- What was answered under a token, if it was carried out.
local function answered(token)
  local done = call('GET', P .. 'tok:' .. token)
  return done and tonumber(done)
end

local function answer(token, number)
  call('SET', P .. 'tok:' .. token, number, 'EX', 60)
  return number
end

-- write {name, version, state, events [kind, data, terminal, …], ended, expires, bounds, producer, known, most, token}:
-- the last offset, or -1 if the stream has changed since it was seen.
function ops.write(a)
  local done = answered(a[11])
  if done then return done end
  if not is_as_seen(a[1], a[2]) then return -1 end
  if a[2] == 0 then fresh(a[1], a[3], a[6]) end
  return answer(a[11], append_to(a[1], a))
end

-- appended {token}: the last offset of an append that was carried out under this token, or 0.
function ops.appended(a) return answered(a[1]) or 0 end

-- The part of one event's bytes with which a stream begins: {kind, data, at}; nil if it has not so many.
local function part_of(source, offset, length)
  local after = call('XRANGE', P .. 's:' .. source, offset .. '-0', '+', 'COUNT', 1)[1]
  local data = after and after[1] == offset .. '-0' and binary(after[2][4])
  if not data or #data < length then return nil end
  return {after[2][2], string.sub(data, 1, length), after[2][6]}
end

-- A new stream begins with the events of another one up to an offset, and with a part of the event after it, if any.
local function begin_with(name, source, upto, part)
  local key, meta, size, at = P .. 's:' .. name, P .. 'm:' .. name, 0, '-'
  while true do
    local found = call('XRANGE', P .. 's:' .. source, at, upto .. '-0', 'COUNT', 500)
    for _, e in ipairs(found) do
      call('XADD', key, e[1], 'k', e[2][2], 'd', e[2][4], 'a', e[2][6])
      size = size + #e[2][4]
    end
    if #found < 500 then break end
    at = '(' .. found[#found][1]
  end
  local last = upto
  if part then
    last = last + 1
    local n = #part[2]
    local data = '\198' .. string.char(math.floor(n / 16777216) % 256, math.floor(n / 65536) % 256,
                                        math.floor(n / 256) % 256, n % 256) .. part[2]
    call('XADD', key, last .. '-0', 'k', part[1], 'd', data, 'a', part[3])
    size = size + #data
  end
  call('HSET', meta, 'last', last, 'size', size, 'source', source)
  call('SADD', P .. 'kids:' .. source, name)
end

-- make {name, state, expires, source or false, upto, part, what `write` gets or false, token}: its number, 0 if it is
-- there, -1 if there is no such part. The stream is there with its first events or not at all.
function ops.make(a)
  local name, done = a[1], answered(a[8])
  if done then return done end
  if not is_as_seen(name, 0) then return 0 end
  local part
  if a[4] and a[6] > 0 then
    part = part_of(a[4], a[5] + 1, a[6])
    if not part then return -1 end
  end
  local made = fresh(name, a[2], a[3])
  if a[4] then begin_with(name, a[4], a[5], part) end
  if a[7] then append_to(name, a[7]) end
  return answer(a[8], made)
end

-- touch {name, expires}: its time to live begins anew.
function ops.touch(a) return call('ZADD', P .. 'sexp', 'XX', a[2], a[1]) end

-- unmake {name, state when hidden, what followers are told}
function ops.unmake(a)
  tell_gone(a[1], a[3])
  if call('EXISTS', P .. 'kids:' .. a[1]) == 0 then
    forget_stream(a[1])
    return 1
  end
  call('HSET', P .. 'm:' .. a[1], 'state', a[2], 'hidden', 1)
  call('HINCRBY', P .. 'm:' .. a[1], 'ver', 1)
  call('DEL', P .. 's:' .. a[1])
  call('ZREM', P .. 'sexp', a[1])
  return 1
end

-- read {stream, job id or false, after, most, bytes}: {last, ended, alive, entries, why events are gone, made}.
function ops.read(a)
  local last, over, alive, key, v
  if a[2] then
    v = call('HMGET', job_key(a[2]), 'last', 'st', 'alive', 'cut', 'seq')
    if not v[1] then return false end
    last, over, alive, key = tonumber(v[1]), tonumber(v[2]) > RUNNING, tonumber(v[3] or 0), P .. 'e:' .. a[2]
  else
    v = call('HMGET', P .. 'm:' .. a[1], 'last', 'ended', 'hidden', 'cut', 'made')
    local expires = call('ZSCORE', P .. 'sexp', a[1])
    if not v[1] or v[3] or (expires and tonumber(expires) <= NOW) then return false end
    last, over, alive, key = tonumber(v[1]), v[2] == '1', 0, P .. 's:' .. a[1]
  end
  local entries, size, at = {}, 0, a[3] + 1
  while #entries < a[4] and size < a[5] do
    local found = call('XRANGE', key, at .. '-0', '+', 'COUNT', math.min(64, a[4] - #entries))
    if #found == 0 then break end
    for _, e in ipairs(found) do
      size = size + #e[2][4]
      if size > a[5] and #entries > 0 then break end
      entries[#entries + 1] = e
    end
    at = tonumber(string.match(found[#found][1], '^%d+')) + 1
  end
  return {last, over and 1 or 0, alive, entries, v[4], tonumber(v[5])}
end
