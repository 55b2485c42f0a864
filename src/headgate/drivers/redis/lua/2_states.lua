-- A job changes its state. What is to become of it has been decided elsewhere; here it is stored, whole.

-- `key=` and `limit=`: of each key at most `limit` jobs are running (kr) or visible to claims (kq); the
-- others are held back (kh). So a claim never meets a job that it may not run.
local function key_sets(key) return P .. 'kr:' .. key, P .. 'kq:' .. key, P .. 'kh:' .. key end

local function show(j)
  if j.by then
    -- Carried by RQ or Celery: a ticket has to be sent there, by a client that can.
    call('ZADD', P .. 'out:' .. j.by, NOW, j.id)
    call('HDEL', job_key(j.id), 'sent')
    call(PUBLISH, P .. '>o:' .. j.by, '')
    return
  end
  call('ZADD', line_key(j.q, j.f), -j.pr, member(j))
  call('SADD', P .. 'lines', j.q .. SEP .. j.f)
  wake(j.q, j.f, 1)
end

local function hide(j)
  if j.by then
    call('ZREM', P .. 'out:' .. j.by, j.id)
    return
  end
  call('ZREM', line_key(j.q, j.f), member(j))
  thinned[j.q .. SEP .. j.f] = true
end

local function queue_up(j)
  if not j.key then return show(j) end
  local kr, kq, kh = key_sets(j.key)
  call('ZADD', kq, -j.pr, member(j))
  if call('SCARD', kr) + call('ZCARD', kq) <= j.lim then return show(j) end
  local worst = call('ZRANGE', kq, -1, -1, 'WITHSCORES')
  call('ZREM', kq, worst[1])
  call('ZADD', kh, worst[2], worst[1])
  if worst[1] == member(j) then return end
  hide(load(string.sub(worst[1], 17)))
  show(j)
end

-- A job of this key may have left: let the best of those held back take its place.
local function freed(key)
  local kr, kq, kh = key_sets(key)
  while true do
    local best = call('ZRANGE', kh, 0, 0, 'WITHSCORES')
    if #best == 0 then return end
    local j = load(string.sub(best[1], 17))
    if j and call('SCARD', kr) + call('ZCARD', kq) >= j.lim then return end
    call('ZREM', kh, best[1])
    if j then
      call('ZADD', kq, best[2], best[1])
      show(j)
    end
  end
end

local function leave(j)
  count(j.q, j.st, -1)
  if j.st == QUEUED then
    hide(j)
    if j.key then
      local _, kq, kh = key_sets(j.key)
      call('ZREM', kq, member(j))
      call('ZREM', kh, member(j))
    end
  elseif j.st == SCHEDULED then
    call('ZREM', P .. 'due', j.id)
  elseif j.st == RUNNING then
    call('ZREM', P .. 'lease', j.id)
    call('ZREM', P .. 'w:' .. j.w, j.id)
    if j.key then call('SREM', (key_sets(j.key)), j.id) end
    if rules_of(j.q) then wake_queue(j.q) end
  else
    call('ZREM', P .. 'exp', j.id)
    call('ZREM', P .. 'is:' .. j.st, j.id)
  end
end

local function enter(j, st, due)
  count(j.q, st, 1)
  local was = j.st
  j.st = st
  if st == QUEUED then
    queue_up(j)
  elseif st == SCHEDULED and due then
    call('ZADD', P .. 'due', due, j.id)
  elseif st > RUNNING then
    call('ZADD', P .. 'exp', NOW + j.ttl, j.id)
    if st ~= SUCCEEDED then call('ZADD', P .. 'is:' .. st, j.seq, j.id) end
    if call('EXISTS', P .. 'needs:' .. j.id) == 1 then ended[#ended + 1] = {j.id, st} end
  end
  if j.dl then
    if st <= QUEUED then call('ZADD', P .. 'deadline', j.dl, j.id) else call('ZREM', P .. 'deadline', j.id) end
  end
  if j.key and was > SCHEDULED then freed(j.key) end
end

-- Carry out a step s = {st, events, delay, fails, losses, failure, uncounted, fence, result, cpu, rss, anew}.
local function carry_out(j, s)
  local key = job_key(j.id)
  local was = j.st
  if s.anew and call('EXISTS', P .. 'after:' .. j.id) == 1 then s.st = SCHEDULED end  -- it waits again
  leave(j)
  j.last = write(P .. 'e:' .. j.id, 'jobs/' .. j.id, j.last, s.events)
  j.fails, j.losses = s.fails, s.losses
  if s.uncounted then j.tries = j.tries - 1 end
  if s.fence then j.ep = j.ep + 1 end
  local set = {'st', s.st, 'tries', j.tries, 'fails', j.fails, 'losses', j.losses, 'ep', j.ep, 'last', j.last}
  local unset = {}
  local function put(field, value)
    if value then set[#set + 1] = field; set[#set + 1] = value else unset[#unset + 1] = field end
  end
  local over = s.st > RUNNING
  if over or was > RUNNING then put('fin', over and NOW) end
  if s.failure or j.fails > 0 or s.st <= RUNNING or was > RUNNING then put('err', s.failure) end
  if s.result or was > RUNNING then put('res', s.result) end
  if not over then unset[#unset + 1] = 'w' end
  if s.cpu then put('cpu', s.cpu) end
  if s.rss then put('rss', s.rss) end
  if s.anew then
    -- Put back by an operator: its counts begin anew, and what was its last event is so no more.
    j.tries, j.cr = 0, 0
    put('tries', 0); put('cr', 0); put('alive', j.last)
  end
  call('HSET', key, unpack(set))
  if #unset > 0 then call('HDEL', key, unpack(unset)) end
  enter(j, s.st, s.delay and NOW + s.delay)
end

-- Jobs that wait for other jobs: `needs:<a>` are those that wait for a, `after:<b>` is what b waits for still.

local function unreached(j, needed, st)
  for _, other in ipairs(call('SMEMBERS', P .. 'after:' .. j.id)) do call('SREM', P .. 'needs:' .. other, j.id) end
  call('DEL', P .. 'after:' .. j.id)
  local became = st == FAILED and 'failed' or 'was cancelled'
  local message = 'it was to run after job ' .. needed .. ', which ' .. became .. '; it will not run'
  local data = pack({type = 'NotReached', message = message})
  carry_out(j, {st = CANCELLED, events = {{'cancelled', data, true}}, fails = j.fails, losses = j.losses,
                failure = pack({type = 'NotReached', message = message})})
end

local function one_is_over(j, needed, st)
  call('SREM', P .. 'after:' .. j.id, needed)
  if j.st ~= SCHEDULED then return end
  local v = call('HMGET', job_key(j.id), 'even', 'total', 'nb')
  if st ~= SUCCEEDED and not v[1] then return unreached(j, needed, st) end
  local left, total = call('SCARD', P .. 'after:' .. j.id), tonumber(v[2])
  if total > 1 then
    -- The stream of the job that completes a group tells how far the group is.
    local data = pack({done = total - left, total = total})
    j.last = write(P .. 'e:' .. j.id, 'jobs/' .. j.id, j.last, {{'progress', data}})
    call('HSET', job_key(j.id), 'last', j.last, 'prog', data)
  end
  if left > 0 then return end
  local delay = v[3] and tonumber(v[3]) - NOW
  local later = delay and delay > 0
  carry_out(j, {st = later and SCHEDULED or QUEUED, delay = later and delay or nil, events = {}, fails = j.fails,
                losses = j.losses})
end

local function tell_the_next()
  while #ended > 0 do
    local id, st = unpack(table.remove(ended))
    local key = P .. 'needs:' .. id
    local waiting = call('SMEMBERS', key)
    call('DEL', key)
    for _, other in ipairs(waiting) do
      local j = load(other)
      if j then one_is_over(j, id, st) end
    end
  end
end

local function forget(id)
  local v = call('HMGET', job_key(id), 'q', 'st', 'ik', 'tags')
  if not v[1] then return end
  count(v[1], v[2], -1)
  if v[3] and call('HGET', P .. 'idem', v[3]) == id then call('HDEL', P .. 'idem', v[3]) end
  for _, tag in ipairs(v[4] and unpack_(v[4]) or {}) do call('ZREM', P .. 't:' .. tag, id) end
  for _, other in ipairs(call('SMEMBERS', P .. 'after:' .. id)) do call('SREM', P .. 'needs:' .. other, id) end
  call('DEL', job_key(id), P .. 'e:' .. id, P .. 'after:' .. id)
  for _, index in ipairs({'all', 'exp', 'deadline', 'is:' .. v[2]}) do call('ZREM', P .. index, id) end
end
