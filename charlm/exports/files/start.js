const take = (id) => {
  const element = document.getElementById(id);
  element.remove();
  return element.textContent;
};
globalThis.page = startPage(new LocalSource(JSON.parse(take("network")), take("weights")));
