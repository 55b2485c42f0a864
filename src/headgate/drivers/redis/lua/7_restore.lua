-- Taking over what another engine held.

local function restore_events(key, flat)
  local size = 0
  for i = 1, #flat, 5 do
    if flat[i + 4] then
      call('XADD', key, flat[i] .. '-0', 'k', flat[i + 1], 'd', flat[i + 2], 'a', flat[i + 3], 't', 1)
    else
      call('XADD', key, flat[i] .. '-0', 'k', flat[i + 1], 'd', flat[i + 2], 'a', flat[i + 3])
    end
    size = size + #flat[i + 2]
  end
  return size
end

-- restore_job {spec, fields, due, expires, events [offset, kind, data, at, terminal, …], what it waits for}: 0 if known.
function ops.restore_job(a)
  local s = spec_of(a[1])
  if call('EXISTS', job_key(s.id)) == 1 then return 0 end
  local seq = call('INCR', P .. 'seq')
  local set = {'spec', s.raw, 'args', s.args, 'seq', seq, 'q', s.queue, 'f', s.f, 'pr', s.priority, 'ttl', s.result_ttl}
  local function put(field, value)
    if value then set[#set + 1] = field; set[#set + 1] = value end
  end
  put('key', s.key); put('lim', s.key and s.limit); put('dl', s.deadline); put('ik', s.idempotency_key)
  put('tags', #s.tags > 0 and pack(s.tags)); put('even', s.even_if_failed and 1); put('nb', s.not_before)
  put('by', s.by); put('total', #s.after > 0 and #s.after)
  for i = 1, #a[2] do set[#set + 1] = a[2][i] end
  local key = job_key(s.id)
  call('HSET', key, unpack(set))
  call('HSET', key, 'size', restore_events(P .. 'e:' .. s.id, a[5]))
  call('ZADD', P .. 'all', seq, s.id)
  if s.idempotency_key then call('HSETNX', P .. 'idem', s.idempotency_key, s.id) end
  for _, tag in ipairs(s.tags) do call('ZADD', P .. 't:' .. tag, seq, s.id) end
  for _, needed in ipairs(a[6]) do
    call('SADD', P .. 'after:' .. s.id, needed)
    call('SADD', P .. 'needs:' .. needed, s.id)
  end
  local j = load(s.id)
  local st = j.st
  j.st = -1
  enter(j, st, a[3])
  if st > RUNNING and a[4] then call('ZADD', P .. 'exp', a[4], s.id) end
  return 1
end

-- restore_stream {name, last, ended, expires, state, events, producers [id, known, …]}: 0 if known.
function ops.restore_stream(a)
  local name = a[1]
  if call('EXISTS', P .. 'm:' .. name) == 1 then return 0 end
  local made = call('INCR', P .. 'seq')
  local size = restore_events(P .. 's:' .. name, a[6])
  call('HSET', P .. 'm:' .. name, 'ver', 1, 'last', a[2], 'ended', a[3] and 1 or 0, 'made', made, 'state', a[5],
       'size', size)
  if a[4] then call('ZADD', P .. 'sexp', a[4], name) end
  for i = 1, #a[7], 2 do
    call('HSET', P .. 'pr:' .. name, a[7][i], a[7][i + 1])
    call('ZADD', P .. 'prt:' .. name, NOW, a[7][i])
  end
  return 1
end
