"""Puts into the queues what is next, as one step that nobody can come between.

In Redis, because all workers do it: of several transactions at once all but one would begin again. A whole turn is
handed out at a time, and nothing while as many regions are queued as workers live that may take them: so few of the
regions have Redis look for the next one.

Where turns change between models, a turn more is queued: so workers find regions of the model that they hold
(`scripts/prefer.py`).

Where workers with a GPU live beside others, the two are told apart: regions of heavy models wait, and are queued, for
those with a GPU. Where all are of one kind, all regions take turns together; so what waits is joined and parted as
workers come and go.
"""

HAND_OUT = """
local told = cjson.decode(ARGV[1])
local final, fresh, number, outs = {}, {}, 0, {}
for _, state in ipairs(told.final) do final[state] = true end

local rooms, seen = {}, {}

local function look(workers)
    local ids = redis.call('ZRANGE', workers, 0, -1)
    for place, id in ipairs(ids) do ids[place] = told.worker .. id end
    local alive, with_gpu = 0, 0
    for _, sign in ipairs(#ids > 0 and redis.call('MGET', unpack(ids)) or {}) do
        if sign then alive = alive + 1 end
        if sign and string.find(sign, told.gpu, 1, true) then with_gpu = with_gpu + 1 end
    end
    local are_mixed = with_gpu > 0 and with_gpu < alive
    return {math.max(told.least, alive), are_mixed and math.max(told.least, with_gpu) or 0}
end

local function join(into, from)
    redis.call('ZUNIONSTORE', into, 2, into, from, 'AGGREGATE', 'MAX')
    redis.call('DEL', from)
end

local function join_all(region, heavy)
    if redis.call('EXISTS', heavy.turns, heavy.queue) == 0 then return end
    for _, tenant in ipairs(redis.call('ZRANGE', heavy.turns, 0, -1)) do
        join(region.turns .. ':' .. tenant, heavy.turns .. ':' .. tenant)
    end
    join(region.turns, heavy.turns)
    local moved = redis.call('LMOVE', heavy.queue, region.queue, 'RIGHT', 'LEFT')
    while moved do
        local entry = told.job .. moved
        if redis.call('EXISTS', entry) == 1 then redis.call('HSET', entry, 'origin', region.entry.origin) end
        moved = redis.call('LMOVE', heavy.queue, region.queue, 'RIGHT', 'LEFT')
    end
end

local function room_of(lanes)
    if lanes.room then return lanes.room end
    seen[lanes.workers] = seen[lanes.workers] or look(lanes.workers)
    if seen[lanes.workers][2] == 0 then join_all(lanes.region, lanes.heavy) end
    return seen[lanes.workers]
end

local function first(set)
    return redis.call('ZRANGE', set, 0, 0)[1]
end

local function out_of(tenant)
    if outs[tenant] then return outs[tenant] end
    outs[tenant] = 0
    for _, job in ipairs(redis.call('SMEMBERS', told.out .. tenant)) do
        local record = told.record .. job
        local out = redis.call('SCARD', record .. ':todo') - redis.call('LLEN', record .. ':waiting')
        if out > 0 then outs[tenant] = outs[tenant] + out else redis.call('SREM', told.out .. tenant, job) end
    end
    return outs[tenant]
end

local function first_below_cap(turns)
    if told.cap == 0 then return first(turns) end
    for _, tenant in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
        if out_of(tenant) < told.cap then return tenant end
    end
end

local function plan_is_queued(queue)
    local queued = 0
    for _, entry in ipairs(redis.call('LRANGE', queue, 0, -1)) do
        if string.find(entry, '%-plan%-%x+$') then queued = queued + 1 end
    end
    return queued >= told.plans
end

local function enqueue(lane, name, job, items, model)
    local out, ids, own = {}, {}, {}
    if lane.origin then own = {'origin', lane.origin} end
    if name ~= 'plan' and model then
        own[#own + 1] = 'model'
        own[#own + 1] = model
    end
    for place, item in ipairs(items) do
        local task = name == 'plan' and 'plan' or 'region-' .. item
        local args = name == 'plan' and '"' .. job .. '"' or '"' .. job .. '", ' .. item
        local fields = {'data', '["' .. lane.calls .. '", null, [' .. args .. '], {}]', 'description', task}
        for field, value in pairs(lane.entry) do
            fields[#fields + 1] = field
            fields[#fields + 1] = value
        end
        for _, each in ipairs(own) do fields[#fields + 1] = each end
        number = number + 1
        ids[place] = string.format('%s-%s-%s%04x', job, task, told.salt, number)
        out[#out + 1] = job .. ' ' .. task
        out[#out + 1] = ''
        redis.call('HSET', told.job .. ids[place], unpack(fields))
    end
    redis.call('HSET', KEYS[3], unpack(out))
    return redis.call('RPUSH', lane.queue, unpack(ids))
end

local function hand_out(lanes, name, tenant)
    local lane = lanes[name]
    lane.calls, lane.entry = lane.calls or lanes.region.calls, lane.entry or lanes.region.entry
    local jobs = lane.turns .. ':' .. tenant
    local job = first(jobs)
    if not job then
        redis.call('ZREM', lane.turns, tenant)
        return
    end
    local waiting = told.record .. job .. ':waiting'
    local record = redis.call('HMGET', told.record .. job, 'state', 'has_turn', 'host', 'heavy', 'model')
    local left = redis.call('LLEN', waiting)
    local is_plan = left == 1 and redis.call('LINDEX', waiting, 0) == 'plan'
    local elsewhere = name ~= 'plan' and (record[3] or '') ~= lanes.host
    if left == 0 or is_plan ~= (name == 'plan') or elsewhere or not record[1] or final[record[1]] then
        redis.call('ZREM', jobs, job)
        return
    end
    if name == 'region' and record[4] and lanes.room[2] > 0 then
        redis.call('ZREM', jobs, job)
        redis.call('ZADD', lanes.heavy.turns .. ':' .. tenant, 'NX', 0, job)
        redis.call('ZADD', lanes.heavy.turns, 'NX', 0, tenant)
        return
    end
    local most = (left - 1) % told.turn + 1
    if name ~= 'plan' and told.cap > 0 then
        most = math.min(most, told.cap - out_of(tenant))
        outs[tenant] = outs[tenant] + most
        redis.call('SADD', told.out .. tenant, job)
    end
    local items = redis.call('LPOP', waiting, most)
    local turn = redis.call('INCR', KEYS[1])
    if left == #items then redis.call('ZREM', jobs, job) else redis.call('ZADD', jobs, turn, job) end
    redis.call('ZADD', lane.turns, turn, tenant)
    local has_turn = name == 'plan' and 'plan' or 'of ' .. (record[5] or '')
    local had_turn = redis.call('SET', KEYS[2] .. lane.name, has_turn, 'GET')
    if name ~= 'plan' then
        lane.changed = had_turn and had_turn ~= 'plan' and had_turn ~= has_turn and 1 or 0
        if lane.changed == 1 then lane.deeper = told.turn end
    end
    if name ~= 'plan' and not record[2] then
        redis.call('HSET', told.record .. job, 'has_turn', '1')
        fresh[#fresh + 1] = job
    end
    return enqueue(lane, name, job, items, record[5])
end

for place, lanes in ipairs(told.lanes) do
    lanes.room = room_of(lanes)
    local room, heavy_room = unpack(lanes.room)
    local has_room = function(lane, most, queued) return queued < most + lane.deeper end
    lanes.plan.name, lanes.region.name, lanes.heavy.name = lanes.name, lanes.name, lanes.name .. ':heavy'
    local plan, region = first(lanes.plan.turns), first_below_cap(lanes.region.turns)
    local queued = region and redis.call('LLEN', lanes.region.queue)
    while plan or (region and has_room(lanes.region, room, queued)) do
        local plan_is_next = plan and not (region and redis.call('GET', KEYS[2] .. lanes.name) == 'plan')
        if plan_is_next and not plan_is_queued(lanes.plan.queue) then
            hand_out(lanes, 'plan', plan)
            plan = first(lanes.plan.turns)
        elseif region and has_room(lanes.region, room, queued) then
            queued = hand_out(lanes, 'region', region) or queued
            if plan or has_room(lanes.region, room, queued) then region = first_below_cap(lanes.region.turns) end
        else
            break
        end
    end
    local heavy = heavy_room > 0 and first_below_cap(lanes.heavy.turns)
    queued = heavy and redis.call('LLEN', lanes.heavy.queue)
    while heavy and has_room(lanes.heavy, heavy_room, queued) do
        queued = hand_out(lanes, 'heavy', heavy) or queued
        heavy = has_room(lanes.heavy, heavy_room, queued) and first_below_cap(lanes.heavy.turns)
    end
    rooms[place] = {room, heavy_room, lanes.region.changed or -1, lanes.heavy.changed or -1}
end
return {rooms, fresh}
"""
"""Returns for each of the lanes how many regions have to be queued for nothing to be handed out, for all workers and
for those with a GPU (0: these are not told apart), whether the last turn handed out of each was of another model than
the one before (-1: none was), and the jobs that had no turn before. Of a job that was planned by another host nothing
is handed out in the lanes of this one."""
