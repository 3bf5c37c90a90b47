// A hub that takes every device whose id is not bad, on rhea. It prints its port, and then what it gets, a line of JSON each.
import { createRequire } from 'node:module';

const require = createRequire(new URL('../sdk/', import.meta.url));
const rhea = require('rhea');
const { types } = rhea;
const tell = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const container = rhea.create_container({ id: 'rhea' });
const answers = new Map(); // links on which answers go out, by session and address
const key = (session, address) => `${session.local.channel} ${address}`;
const text = (body) => (body && body.content !== undefined ? body.content : body);

container.on('sender_open', ({ sender, session }) => {
  const { address } = sender.remote.attach.source;
  sender.set_source({ address });
  answers.set(key(session, address), sender);
  if (address.endsWith('/methods/devicebound')) {
    sender.once('sendable', () => sender.send({
      correlation_id: Buffer.from('0102030405060708090a0b0c0d0e0f10', 'hex'),
      application_properties: { 'IoThub-methodname': 'reboot' },
      body: rhea.message.data_section(Buffer.from('{"in":5}')),
    }));
  }
  if (address.endsWith('/messages/devicebound')) {
    sender.once('sendable', () => sender.send({ message_id: 'm1', application_properties: { a: 'b' }, body: rhea.message.data_section(Buffer.from('hello')) }));
    sender.on('accepted', () => tell({ accepted: address }));
  }
});
container.on('receiver_open', ({ receiver }) => receiver.set_target({ address: receiver.remote.attach.target.address }));
container.on('message', ({ message, receiver, session, delivery }) => {
  const { address } = receiver.remote.attach.target;
  const answer = answers.get(key(session, address));
  const { operation, resource } = message.message_annotations || {};
  if (address === '$cbs') {
    const bad = message.application_properties.name.endsWith('/bad');
    delivery.accept(); // else rhea has no room for what follows the two thousandth
    answer.send({ correlation_id: message.message_id, application_properties: { 'status-code': types.wrap_int(bad ? 401 : 200), 'status-description': 'text' } });
    return;
  }
  const body = text(message.body);
  tell({ address, operation, resource, body: String(body), size: body ? body.length : 0, settled: delivery.remote_settled,
    status: (message.application_properties || {})['IoThub-status'], id: Buffer.isBuffer(message.correlation_id) ? message.correlation_id.toString('hex') : undefined });
  if (address.endsWith('/twin')) {
    const message_annotations = { status: types.wrap_int(200) };
    if (operation === 'PATCH') message_annotations.version = types.wrap_long(7);
    const response = { correlation_id: message.correlation_id, message_annotations };
    if (operation === 'GET') response.body = rhea.message.data_section(Buffer.from('{"desired":{"$version":1},"reported":{"$version":1}}'));
    answer.send(response);
    if (operation === 'PUT') {
      answer.send({ message_annotations: { resource: '/properties/desired', version: types.wrap_long(9) },
        body: rhea.message.data_section(Buffer.from('{"x":1,"$version":9}')) });
    }
  } else if (address.endsWith('/messages/events') && String(body) === 'reject') {
    delivery.reject({ condition: 'com.microsoft:device-container-throttled', description: 'slow down' });
    return;
  }
  delivery.accept();
});
for (const event of ['connection_error', 'session_error', 'sender_error', 'receiver_error', 'protocol_error', 'error']) {
  container.on(event, (context) => tell({ trouble: event, text: String((context.connection || context).error || context) }));
}
const server = container.listen({ port: 0, host: '127.0.0.1', receiver_options: { autoaccept: false }, max_frame_size: 4096, idle_time_out: 10000 });
server.on('listening', () => tell({ port: server.address().port }));
