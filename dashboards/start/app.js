// The start page: sign in, what is left, what was used, which models there are, and one question.
//
//   cookie (HttpOnly) + csrf   what is mine: survives a reload
//   bearer, in memory only     /v1, which takes no cookies: gone with the page, so a reload asks for the password again
//
// Whatever comes from the server is written as text, never as HTML.

const SAY = {
  ko: {
    skip: '본문으로', signIn: '로그인', signOut: '로그아웃', email: '이메일', password: '비밀번호',
    demo: '처음이십니까? make run을 실행한 화면과 데이터 폴더의 first-run.json에 역할별 데모 계정이 있습니다.',
    ask: '질문하기', unlock: '확인', unlockWhy: '화면을 새로 열었습니다. 질문하려면 비밀번호를 한 번 더 입력하십시오.',
    model: '모델', question: '질문', keys: 'Ctrl+Enter로도 보냅니다.', send: '보내기', stop: '멈추기', answer: '답변',
    budgets: '나의 예산', budgetsWhy: '아래 한도가 모두 허락해야 요청이 나갑니다.', usage: '이번 달 나의 사용',
    requests: '요청', tokens: '토큰', won: '원', total: '합계', models: '모델',
    day: '일', month: '월', year: '연', hard: '초과 불가', soft: '알림만',
    left: '남음', used: '사용', held: '잡아 둠', limit: '한도', resets: '초기화', noLimit: '한도 없음', secret: '금액을 볼 권한이 없습니다',
    nothing: '아직 없습니다.', available: '사용 가능', unavailable: '사용할 수 없음', takes: '등급까지',
    inside: '기관 내부', government: '정부 전용망', domestic: '국내', foreign: '국외',
    waiting: '답변을 기다리는 중…', cost: '비용', estimated: '추정', stopped: '멈추었습니다. 받은 만큼만 과금됩니다.',
    offline: '서버에 연결할 수 없습니다. 서버가 실행 중인지 확인하고 다시 시도하십시오.',
    ended: '로그인이 끝났습니다. 다시 로그인하십시오.', broken: '답변이 도중에 끊겼습니다. 받은 만큼만 과금됩니다.',
    exhausted: '예산이 부족하여 보내지 않았습니다. 비용은 없습니다.', again: '다시 쓸 수 있는 때', instead: '대신 쓸 수 있는 모델',
  },
  en: {
    skip: 'To the content', signIn: 'Sign in', signOut: 'Sign out', email: 'E-mail', password: 'Password',
    demo: 'New here? The screen where make run was started and first-run.json in the data folder have a demo account for each role.',
    ask: 'Ask', unlock: 'Confirm', unlockWhy: 'The page was opened anew. Enter your password once more to ask.',
    model: 'Model', question: 'Question', keys: 'Ctrl+Enter sends too.', send: 'Send', stop: 'Stop', answer: 'Answer',
    budgets: 'My budgets', budgetsWhy: 'Every limit below must admit a request before it leaves.', usage: 'My use this month',
    requests: 'Requests', tokens: 'Tokens', won: 'Won', total: 'Total', models: 'Models',
    day: 'day', month: 'month', year: 'year', hard: 'hard', soft: 'warns only',
    left: 'left', used: 'used', held: 'held', limit: 'limit', resets: 'resets', noLimit: 'No limit', secret: 'You may not see these amounts',
    nothing: 'Nothing yet.', available: 'Available', unavailable: 'Unavailable', takes: 'takes grade',
    inside: 'inside', government: 'government', domestic: 'domestic', foreign: 'foreign',
    waiting: 'Waiting for the answer…', cost: 'Cost', estimated: 'estimated', stopped: 'Stopped. You pay for what was delivered.',
    offline: 'The server cannot be reached. See that it is running and try again.',
    ended: 'The session has ended: sign in again.', broken: 'The answer broke off. You pay for what was delivered.',
    exhausted: 'The budget is too small: nothing was sent, nothing was charged.', again: 'It comes back', instead: 'Models you can use instead',
  },
};

const $ = (id) => document.getElementById(id);
let language = localStorage.getItem('haechi-language') === 'en' ? 'en' : 'ko';
let csrf = null;
let bearer = null;
let shown = { me: null, usage: null, models: null };
let asking = null;

const say = (key) => SAY[language][key];

class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `HTTP ${status}`);
    this.status = status;
    this.error = error ?? {};
  }
}

async function call(method, path, { body, headers = {}, signal, cookies = true } = {}) {
  const options = { method, signal, credentials: cookies ? 'same-origin' : 'omit', headers: { ...headers } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers['content-type'] = 'application/json';
  }
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Refused(answer.status, (await answer.json().catch(() => ({}))).error);
  return answer;
}

const json = async (...args) => (await call(...args)).json();
const withBearer = () => ({ headers: { authorization: `Bearer ${bearer}` }, cookies: false });

// ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function speak() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll('[data-say]')) element.textContent = say(element.dataset.say);
  $('language').textContent = language === 'ko' ? 'English' : '한국어';
  $('language').lang = language === 'ko' ? 'en' : 'ko';
  if (shown.me) showMine();
  if (shown.models) showModels();
}

// Decimal strings of won: digits are grouped, none is rounded away.
function won(text) {
  const [whole, rest] = String(text).split('.');
  const sign = whole.startsWith('-') ? '-' : '';
  return `${sign}₩${whole.replace('-', '').replace(/\B(?=(\d{3})+$)/g, ',')}${rest ? `.${rest}` : ''}`;
}

// The organisation's own clock, as the server wrote it, wherever this browser is.
function when(text) {
  const options = { dateStyle: 'medium', timeStyle: 'short', timeZone: 'UTC' };
  return new Date(`${text.slice(0, 16)}Z`).toLocaleString(language === 'ko' ? 'ko-KR' : 'en-GB', options);
}

function make(tag, { text, className, ...more } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), more);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function explain(error) {
  if (!(error instanceof Refused)) return say('offline');
  const more = error.error.haechi ?? {};
  if (error.error.code === 'insufficient_quota') {
    const parts = [say('exhausted')];
    if (more.limit_krw != null) parts.push(`${say('limit')} ${won(more.limit_krw)}, ${say('used')} ${won(more.used_krw)}.`);
    if (more.resets_at) parts.push(`${say('again')}: ${when(more.resets_at)}.`);
    if (more.alternatives?.length) parts.push(`${say('instead')}: ${more.alternatives.join(', ')}.`);
    return parts.join(' ');
  }
  return error.message;
}

function problem(form, text) {
  const place = form.querySelector('.problem');
  place.textContent = text ?? '';
  place.hidden = !text;
}

// ── what is mine ────────────────────────────────────────────────────────────────────────────────────────────────────

function budget(scope) {
  const head = `${scope.name} · ${say(scope.period) ?? scope.period}`;
  const line = make('p', { className: 'line' }, make('strong', { text: head }));
  const item = make('li', {}, line);
  if (scope.used == null) {
    item.append(make('p', { className: 'hint', text: say('secret') }));
    return item;
  }
  const held = Number(scope.held) ? `, ${say('held')} ${won(scope.held)}` : '';
  if (scope.limit == null) {
    line.append(make('span', { text: say('noLimit') }));
    item.append(make('p', { className: 'hint', text: `${say('used')} ${won(scope.used)}${held}` }));
    return item;
  }
  line.append(make('span', { text: `${won(scope.remaining)} ${say('left')}` }));
  const share = Number(scope.limit) ? (Number(scope.used) + Number(scope.held)) / Number(scope.limit) : 1;
  const bar = make('progress', { max: 1, value: Math.min(1, share) });
  bar.setAttribute('aria-label', `${head}: ${say('used')} ${Math.round(share * 100)} %`);
  const kind = scope.hard === false ? say('soft') : say('hard');
  const details = `${say('used')} ${won(scope.used)}${held} / ${say('limit')} ${won(scope.limit)} (${kind}) · ${say('resets')} ${when(scope.resets_at)}`;
  item.append(bar, make('p', { className: 'hint', text: details }));
  return item;
}

function showMine() {
  const { me, usage } = shown;
  $('who').textContent = `${me.name || me.email} · ${me.department}`;
  $('budgets').replaceChildren(...me.scopes.map(budget));
  $('month').textContent = usage.month;
  const cell = (text, number = true) => make('td', { text, className: number ? 'number' : '' });
  const rows = usage.rows.map((row) => make(
    'tr', {}, make('th', { scope: 'row', text: row.key }), cell(row.requests.toLocaleString()), cell(row.tokens.toLocaleString()), cell(won(row.krw)),
  ));
  $('usage').replaceChildren(...(rows.length ? rows : [make('tr', {}, make('td', { colSpan: 4, text: say('nothing') }))]));
  $('total').textContent = won(usage.total_krw);
}

async function readMine() {
  const [me, usage] = await Promise.all([json('GET', '/api/me'), json('GET', '/api/me/usage')]);
  shown = { ...shown, me, usage };
  showMine();
}

// ── models ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function showModels() {
  const chosen = $('model').value;
  const title = (model) => model.title?.[language] ?? model.id;
  const usable = shown.models.filter((model) => model.available);
  $('model').replaceChildren(...usable.map((model) => make('option', { value: model.id, text: title(model) })));
  if (usable.some((model) => model.id === chosen)) $('model').value = chosen;
  showUse();
  const usableFirst = [...usable, ...shown.models.filter((model) => !model.available)];
  $('models').replaceChildren(...usableFirst.map((model) => {
    const state = model.available ? say('available') : say('unavailable');
    const grade = language === 'ko' ? `${model.grade} ${say('takes')}` : `${say('takes')} ${model.grade}`;
    const item = make('li', {}, make(
      'p', { className: 'line' }, make('strong', { text: title(model) }),
      make('span', { className: model.available ? 'state' : 'state off', text: state }),
    ));
    item.append(make('p', { className: 'hint', text: `${say(model.destination) ?? model.destination} · ${grade} · ${model.id}` }));
    const more = model.available ? model.use?.[language] : model.reason?.[language];
    if (more) item.append(make('p', { text: more }));
    return item;
  }));
}

function showUse() {
  const model = shown.models?.find((one) => one.id === $('model').value);
  $('model-use').textContent = model?.use?.[language] ?? '';
}

async function readModels() {
  shown.models = (await json('GET', '/v1/models', withBearer())).data;
  showModels();
}

// ── signing in and out ──────────────────────────────────────────────────────────────────────────────────────────────

async function takeBearer(email, password) {
  ({ token: bearer } = await json('POST', '/api/session', { body: { email, password, token: true }, cookies: false }));
}

async function open() {
  await readMine();
  if (bearer) await readModels();
  $('sign-in').hidden = true;
  for (const id of ['mine', 'who', 'sign-out']) $(id).hidden = false;
  $('unlock').hidden = Boolean(bearer);
  $('ask').hidden = !bearer;
  $('models').closest('section').hidden = !bearer;
}

function close(told) {
  asking?.abort();
  [csrf, bearer] = [null, null];
  shown = { me: null, usage: null, models: null };
  for (const id of ['mine', 'who', 'sign-out', 'answer']) $(id).hidden = true;
  $('text').textContent = '';
  $('question').value = '';
  $('sign-in').hidden = false;
  problem($('sign-in').querySelector('form'), told);
  $('email').focus();
}

function failed(form, error) {
  if (error instanceof Refused && error.status === 401 && error.error.code === 'session_ended') close(say('ended'));
  else problem(form, explain(error));
}

// One attempt at a time: a second press waits for the first answer.
function onSubmit(form, action) {
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = form.querySelector('button[type=submit]');
    if (button.disabled) return;
    problem(form);
    button.disabled = true;
    try {
      await action();
    } catch (error) {
      failed(form, error);
    } finally {
      button.disabled = false;
    }
  });
}

onSubmit($('sign-in').querySelector('form'), async () => {
  const [email, password] = [$('email').value.trim(), $('password').value];
  ({ csrf } = await json('POST', '/api/session', { body: { email, password } }));
  await takeBearer(email, password);
  $('password').value = '';
  await open();
  $('question').focus();
});

onSubmit($('unlock'), async () => {
  await takeBearer(shown.me.email, $('again').value);
  $('again').value = '';
  await open();
  $('question').focus();
});

$('sign-out').addEventListener('click', async () => {
  const ends = [call('DELETE', '/api/session', { headers: { 'x-haechi-csrf': csrf } })];
  if (bearer) ends.push(call('DELETE', '/api/session', withBearer()));
  await Promise.allSettled(ends);
  close();
});

// ── one question ────────────────────────────────────────────────────────────────────────────────────────────────────

async function* events(answer) {
  const decoder = new TextDecoder();
  let rest = '';
  for (const reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const blocks = rest.split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart()).join('\n');
      if (data === '[DONE]') return;
      if (data) yield JSON.parse(data);
    }
    if (done) throw new Refused(0, { message: say('broken') });
  }
}

onSubmit($('ask'), async () => {
  asking = new AbortController();
  $('stop').hidden = false;
  $('answer').hidden = false;
  $('text').textContent = '';
  $('cost').textContent = say('waiting');
  try {
    const body = {
      model: $('model').value,
      messages: [{ role: 'user', content: $('question').value }],
      stream: true,
      stream_options: { include_usage: true },
    };
    const answer = await call('POST', '/v1/chat/completions', { body, signal: asking.signal, ...withBearer() });
    for await (const event of events(answer)) {
      if (event.error) throw new Refused(0, event.error);
      $('text').append(event.choices?.[0]?.delta?.content ?? '');
      if (event.usage) {
        const quality = event.usage.cost_quality === 'estimated' ? ` (${say('estimated')})` : '';
        const tokens = `${event.usage.prompt_tokens} + ${event.usage.completion_tokens} ${say('tokens')}`;
        $('cost').textContent = `${say('cost')} ${won(event.usage.cost_krw)}${quality} · ${tokens}`;
      }
    }
  } catch (error) {
    if (error.name === 'AbortError') {
      $('cost').textContent = say('stopped');
    } else {
      $('cost').textContent = '';
      $('answer').hidden = !$('text').textContent;
      throw error instanceof TypeError && $('text').textContent ? new Refused(0, { message: say('broken') }) : error;
    }
  } finally {
    asking = null;
    $('stop').hidden = true;
    if (csrf) readMine().catch(() => {});
  }
});

$('stop').addEventListener('click', () => asking?.abort());
$('model').addEventListener('change', showUse);
$('question').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) $('ask').requestSubmit();
});
$('language').addEventListener('click', () => {
  language = language === 'ko' ? 'en' : 'ko';
  localStorage.setItem('haechi-language', language);
  speak();
});

// ── start ───────────────────────────────────────────────────────────────────────────────────────────────────────────

speak();
try {
  ({ csrf } = await json('GET', '/api/session'));
  await open();
} catch (error) {
  close(error instanceof Refused ? undefined : say('offline'));
}
