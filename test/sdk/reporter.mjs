// A reporter for node --test: the list of cases, and for each group how many passed.
import { writeFileSync } from 'node:fs';

export default async function* reporter(source) {
  const groups = new Map(); // name of a top-level test to its cases
  let open = [];
  const problems = [];
  for await (const event of source) {
    if (event.type === 'test:stdout' || event.type === 'test:stderr') {
      yield event.data.message;
      continue;
    }
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const { name, nesting, details, skip, todo } = event.data;
    const passed = event.type === 'test:pass' && !skip && !todo;
    if (nesting > 0) {
      open.push({ name, passed });
    } else {
      // The cases of a group are told before the group itself.
      groups.set(name, [...(groups.get(name) ?? []), ...open]);
      open = [];
    }
    if (event.type === 'test:fail' && details.error?.failureType !== 'subtestsFailed') {
      problems.push(`${name}: ${details.error?.cause?.stack ?? details.error}`);
    }
  }
  let all = 0;
  let good = 0;
  for (const [name, cases] of groups) {
    const passed = cases.filter((c) => c.passed).length;
    all += cases.length;
    good += passed;
    yield `${name}: ${passed} of ${cases.length} passed\n`;
    for (const c of cases) yield `  ${c.passed ? 'pass' : 'FAIL'}  ${c.name}\n`;
  }
  if (process.env.TWINFLEET_RESULTS) {
    writeFileSync(process.env.TWINFLEET_RESULTS, JSON.stringify({ groups: [...groups].map(([name, cases]) => ({ name, cases })) }));
  }
  for (const p of problems) yield `\n${p}\n`;
  yield `\n${good} of ${all} cases passed with azure-iot-device, azure-iothub, azure-iot-provisioning-device and azure-iot-provisioning-service\n`;
}
