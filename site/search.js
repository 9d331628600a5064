// The search: every word must be somewhere in an entry; entries that begin with the first word come first. `index`, a
// list of [text, address], stands in front of this.
const box = document.getElementById('search'), found = document.getElementById('found'), menu = document.getElementById('menu');
if (matchMedia('(min-width: 900px)').matches) menu.open = true;
function search() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = words.length === 0 ? [] : index.filter(([text]) => words.every(w => text.toLowerCase().includes(w)));
  const first = ([text]) => (text.toLowerCase().startsWith(words[0]) ? 0 : 1);
  hits.sort((a, b) => first(a) - first(b));
  found.replaceChildren(...hits.slice(0, 12).map(([text, to]) => {
    const item = document.createElement('li'), link = document.createElement('a');
    link.href = to;
    link.textContent = text;
    item.append(link);
    return item;
  }));
  found.hidden = hits.length === 0;
}
box.addEventListener('input', search);
box.addEventListener('keydown', event => {
  if (event.key === 'Enter' && found.querySelector('a')) found.querySelector('a').click();
  if (event.key === 'Escape') { box.value = ''; search(); }
});
found.addEventListener('click', () => { found.hidden = true; });
document.addEventListener('keydown', event => {
  if (event.key === '/' && document.activeElement !== box) { event.preventDefault(); box.focus(); }
});
