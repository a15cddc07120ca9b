"""Puts into the queues what is next, as one step that nobody can come between.

In Redis, because all workers do it: of several transactions at once all but one would begin again. A whole turn is
handed out at a time, and nothing while as many regions are queued as workers live that may take them: so few of the
regions have Redis look for the next one.
"""

HAND_OUT = """
local told = cjson.decode(ARGV[1])
local final, fresh, number = {}, {}, 0
for _, state in ipairs(told.final) do final[state] = true end

local rooms, seen = {}, {}

local function look(workers)
    local alive = redis.call('ZRANGE', workers, 0, -1)
    for place, id in ipairs(alive) do alive[place] = told.worker .. id end
    return math.max(told.least, #alive > 0 and redis.call('EXISTS', unpack(alive)) or 0)
end

local function room_of(lanes)
    if lanes.room then return lanes.room end
    seen[lanes.workers] = seen[lanes.workers] or look(lanes.workers)
    return seen[lanes.workers]
end

local function first(set)
    return redis.call('ZRANGE', set, 0, 0)[1]
end

local function plan_is_queued(queue)
    local queued = 0
    for _, entry in ipairs(redis.call('LRANGE', queue, 0, -1)) do
        if string.find(entry, '%-plan%-%x+$') then queued = queued + 1 end
    end
    return queued >= told.plans
end

local function enqueue(lane, name, job, items)
    local out, ids = {}, {}
    for place, item in ipairs(items) do
        local task = name == 'plan' and 'plan' or 'region-' .. item
        local args = name == 'plan' and '"' .. job .. '"' or '"' .. job .. '", ' .. item
        local fields = {'data', '["' .. lane.calls .. '", null, [' .. args .. '], {}]', 'description', task}
        for field, value in pairs(lane.entry) do
            fields[#fields + 1] = field
            fields[#fields + 1] = value
        end
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
    local jobs = lane.turns .. ':' .. tenant
    local job = first(jobs)
    if not job then
        redis.call('ZREM', lane.turns, tenant)
        return
    end
    local waiting = told.record .. job .. ':waiting'
    local record = redis.call('HMGET', told.record .. job, 'state', 'has_turn', 'host')
    local left = redis.call('LLEN', waiting)
    local is_plan = left == 1 and redis.call('LINDEX', waiting, 0) == 'plan'
    local elsewhere = name == 'region' and (record[3] or '') ~= lanes.host
    if left == 0 or is_plan ~= (name == 'plan') or elsewhere or not record[1] or final[record[1]] then
        redis.call('ZREM', jobs, job)
        return
    end
    local items = redis.call('LPOP', waiting, (left - 1) % told.turn + 1)
    local turn = redis.call('INCR', KEYS[1])
    if left == #items then redis.call('ZREM', jobs, job) else redis.call('ZADD', jobs, turn, job) end
    redis.call('ZADD', lane.turns, turn, tenant)
    redis.call('HSET', KEYS[2], lanes.name, name)
    if name == 'region' and not record[2] then
        redis.call('HSET', told.record .. job, 'has_turn', '1')
        fresh[#fresh + 1] = job
    end
    return enqueue(lane, name, job, items)
end

for place, lanes in ipairs(told.lanes) do
    local room = room_of(lanes)
    rooms[place] = room
    local plan, region = first(lanes.plan.turns), first(lanes.region.turns)
    local queued = region and redis.call('LLEN', lanes.region.queue)
    while plan or (region and queued < room) do
        local plan_is_next = plan and not (region and redis.call('HGET', KEYS[2], lanes.name) == 'plan')
        if plan_is_next and not plan_is_queued(lanes.plan.queue) then
            hand_out(lanes, 'plan', plan)
            plan = first(lanes.plan.turns)
        elseif region and queued < room then
            queued = hand_out(lanes, 'region', region) or queued
            if plan or queued < room then region = first(lanes.region.turns) end
        else
            break
        end
    end
end
return {rooms, fresh}
"""
"""Returns for each of the lanes how many regions have to be queued for nothing to be handed out, and the jobs that had
no turn before. Of a job that was planned by another host nothing is handed out in the lanes of this one."""
